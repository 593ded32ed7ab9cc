/** Schemas of the order routes. */
import { MAX_QUANTITY } from '@flash-sale/core/config/limits.ts';
import { REJECTION_REASONS, type RejectionReason } from '@flash-sale/core/domain/order.ts';
import { type Static, type TProperties, type TSchema, Type } from '@sinclair/typebox';
import { bodyCodes, buyerCodes, problemResponses, readCodes, retryAfter } from '../plugins/problems.ts';
import { refusalCodes } from './refusals.ts';

export const DecimalSchema = Type.String({ description: 'Decimal text: exact.' });

export const PENDING = retryAfter('while the order is pending');

/** Which of them is believed depends on AUTH. */
const BUYERS = [{ buyer: [] }, { buyer_token: [] }];

export const PlaceOrderSchema = {
  tags: ['orders'],
  summary: 'Order units of a sale',
  description:
    'Accepts or refuses the order at once. `accepted` is a promise: the units are reserved, and the order will be written to the ledger. A repeated request with the same idempotency key returns the same order, with `replayed: true` and its present status. Read the status at /api/orders/{order_id}.',
  security: BUYERS,
  params: Type.Object({ product_id: Type.String() }),
  headers: Type.Object({
    'idempotency-key': Type.Optional(
      Type.String({
        description:
          'A repeated request of the same buyer with the same key returns the same order and takes no units. Keys do not expire. 1 to 128 printable ASCII characters, quoted or bare.',
      }),
    ),
  }),
  body: Type.Object(
    {
      quantity: Type.Optional(Type.Integer({ minimum: 1, maximum: MAX_QUANTITY, description: 'Units. Default: 1.' })),
    },
    { additionalProperties: false, description: 'Optional: without a body, one unit.' },
  ),
  response: {
    200: {
      ...Type.Object(
        {
          order_id: Type.String({ description: 'Read the order at /api/orders/{order_id}.' }),
          status: Type.Unsafe<'accepted' | OrderBody['status']>({
            type: 'string',
            enum: ['accepted', 'pending', 'confirmed', 'rejected'],
            description:
              'Of a new order: `accepted`. Of a replayed one: its present status; `accepted` if it cannot be read now.',
          }),
          replayed: Type.Optional(
            Type.Literal(true, { description: 'The key had this order already, and no units were taken.' }),
          ),
          product_id: Type.String(),
          quantity: Type.Integer({ description: 'Units.' }),
          remaining: Type.Integer({
            description: 'Free units after this order and the others of its batch.',
          }),
        },
        { description: 'Accepted, or replayed.' },
      ),
      headers: { ...PENDING, 'Idempotency-Replayed': { type: 'string', description: '`true`, if it is a replay.' } },
    },
    ...problemResponses(...refusalCodes, ...buyerCodes, ...readCodes, ...bodyCodes, 'INVALID_IDEMPOTENCY_KEY'),
  },
};

/** A union by status, so that a client has `amount` exactly if the order is confirmed. */
function orderSchema<Price extends TSchema, More extends TProperties>(price: Price, more: More) {
  const fields = {
    order_id: Type.String(),
    product_id: Type.String(),
    quantity: Type.Integer({ description: 'Units.' }),
    created_at: Type.String({ format: 'date-time', description: 'When the units were taken.' }),
    ...more,
  };
  const finished = { ...fields, finished_at: Type.String({ format: 'date-time', description: 'When it ended.' }) };
  const pending = Type.Object(
    { ...fields, status: Type.Literal('pending') },
    { description: 'Accepted; it will be confirmed or rejected. Retry-After suggests when to read it again.' },
  );
  const confirmed = Type.Object(
    {
      ...finished,
      status: Type.Literal('confirmed'),
      unit_price: price,
      amount: price,
      currency: Type.String({ description: 'ISO 4217.' }),
    },
    { description: "Final: it is in the ledger. `amount` is quantity × the sale's price." },
  );
  const reason = Type.Unsafe<RejectionReason>({ type: 'string', enum: REJECTION_REASONS });
  const rejected = Type.Object(
    { ...finished, status: Type.Literal('rejected'), reason },
    { description: 'Final: its units were given back.' },
  );
  return Type.Union([pending, confirmed, rejected], { description: 'The order.' });
}

const OrderSchema = orderSchema(Type.Number(), {});

/** For operators: prices as exact decimal text. */
export const AnyOrderSchema = orderSchema(DecimalSchema, { buyer_id: Type.String({ description: 'The buyer.' }) });

export type OrderBody = Static<typeof OrderSchema>;
export type AnyOrderBody = Static<typeof AnyOrderSchema>;

export const ReadOrderSchema = {
  tags: ['orders'],
  summary: 'Read your own order',
  security: BUYERS,
  params: Type.Object({ order_id: Type.String() }),
  response: {
    200: { ...OrderSchema, headers: PENDING },
    ...problemResponses('ORDER_NOT_FOUND', 'SALE_RECOVERING', ...buyerCodes, ...readCodes),
  },
};
