/** Random sequences of commands, and how one is run. */

import type { Sale } from '@flash-sale/core/domain/sale.ts';
import fc from 'fast-check';
import { careCommands, sale } from './care-commands.ts';
import { expectSameState, type InventoryCommand, ModelWorld } from './inventory-command.ts';
import type { InventoryUnderTest, SaleUnderTest } from './inventory-under-test.ts';
import { forgetScripts, lossCommands } from './loss-commands.ts';
import { orderCommands } from './order-commands.ts';

/** Commands of one sequence, at most: half as many on average. */
const SEQUENCE_MAX = 30;

interface Sequence {
  readonly sale: Omit<Sale, 'id'>;
  /** false = Redis knows nothing of the sale yet. */
  readonly opened: boolean;
  readonly commands: Iterable<InventoryCommand>;
}

/** @param forgetting whether Redis forgets its scripts now and then, for all sequences */
export function inventoryProperty(
  inventory: InventoryUnderTest,
  { forgetting = false } = {},
): fc.IAsyncProperty<[Sequence]> {
  const command = fc.oneof(
    ...orderCommands,
    ...careCommands,
    ...lossCommands,
    ...(forgetting ? [{ weight: 1, arbitrary: fc.constant(forgetScripts) }] : []),
  );
  const sequence = fc.record({
    sale,
    opened: fc.oneof({ weight: 9, arbitrary: fc.constant(true) }, fc.constant(false)),
    commands: fc.commands([command], { maxCommands: SEQUENCE_MAX, size: 'max' }),
  });
  return fc.asyncProperty(sequence, async (drawn) => {
    const real = await inventory.sale();
    try {
      await runSequence(real, drawn);
    } finally {
      await real.remove();
    }
  });
}

async function runSequence(real: SaleUnderTest, { sale: settings, opened, commands }: Sequence): Promise<void> {
  const world = new ModelWorld({ ...settings, id: real.id });
  if (opened) {
    world.ledger.sale = { ...world.ledger.sale, inventoryVersion: 1 };
    await real.inventories.generous.create(world.ledger.sale);
    world.inventory.openSale(world.ledger.sale);
  }
  await expectSameState(() => 'the state at the beginning', world, real);
  await fc.asyncModelRun(() => ({ model: world, real }), commands);
}
