import { EventEmitter } from 'node:events';
import { expect, test } from 'vitest';
import { listenForStop } from './stop-requests.ts';

test.each([
  ['one Ctrl-C that arrives three times is one request', '0 SIGINT, 0 SIGINT, 200 SIGINT', ['SIGINT']],
  ['a second request soon after changes nothing', '0 SIGINT, 1000 SIGINT, 1000 SIGINT', ['SIGINT']],
  ['a third forces', '0 SIGINT, 1000 SIGINT, 2000 SIGINT', ['SIGINT', 'force']],
  ['a second more than 3 s later forces', '0 SIGTERM, 3100 SIGTERM', ['SIGTERM', 'force']],
  ['that npm is gone never forces', '0 SIGTERM, 9000 disconnect', ['SIGTERM']],
  ['that npm is gone asks once', '0 disconnect, 9000 disconnect', ['npm is gone']],
])('%s', (_what, events, expected) => {
  const source = new EventEmitter();
  const heard: string[] = [];
  let time = 0;
  listenForStop(source, { onStop: (why) => heard.push(why), onForce: () => heard.push('force'), now: () => time });
  for (const [ms, event = ''] of events.split(', ').map((one) => one.split(' '))) {
    time = Number(ms);
    source.emit(event);
  }
  expect(heard).toEqual(expected);
});
