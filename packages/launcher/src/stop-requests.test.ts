import { EventEmitter } from 'node:events';
import { expect, test } from 'vitest';
import { listenForStop } from './stop-requests.ts';

function listener() {
  const source = new EventEmitter();
  const heard: string[] = [];
  let time = 0;
  listenForStop(source, { onStop: (why) => heard.push(why), onForce: () => heard.push('force'), now: () => time });
  const at = (ms: number, ...events: string[]) => {
    time = ms;
    for (const event of events) source.emit(event);
  };
  return { at, heard };
}

test('one Ctrl-C that arrives three times is one request', () => {
  const { at, heard } = listener();
  at(0, 'SIGINT', 'SIGINT');
  at(200, 'SIGINT');
  expect(heard).toEqual(['SIGINT']);
});

test('a second request soon after changes nothing, a third forces', () => {
  const { at, heard } = listener();
  at(0, 'SIGINT');
  at(1_000, 'SIGINT', 'SIGINT');
  expect(heard).toEqual(['SIGINT']);
  at(2_000, 'SIGINT');
  expect(heard).toEqual(['SIGINT', 'force']);
});

test('a second request more than 3 s after the first forces', () => {
  const { at, heard } = listener();
  at(0, 'SIGTERM');
  at(3_100, 'SIGTERM');
  expect(heard).toEqual(['SIGTERM', 'force']);
});

test('that npm is gone asks once, and never forces', () => {
  const { at, heard } = listener();
  at(0, 'disconnect');
  at(9_000, 'disconnect');
  expect(heard).toEqual(['npm is gone']);
});
