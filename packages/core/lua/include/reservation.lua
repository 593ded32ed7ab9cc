-- The layout of a reservation, in Lua. In TypeScript: src/inventory/reservation.ts.
-- quantity|reserved at ms|request id|length of key|key, buyer
local function encode_reservation(quantity, reserved_at, request_id, key_length, order_key, buyer)
  return quantity .. '|' .. reserved_at .. '|' .. request_id .. '|' .. key_length .. '|'
    .. order_key .. buyer
end
-- Returns quantity, buyer, reserved at; nil if the text is not a reservation.
local function decode_reservation(text)
  local quantity, reserved_at, length, rest = string.match(text, '^(%d+)|(%d+)|[^|]*|(%d+)|(.+)$')
  if quantity then
    return tonumber(quantity), string.sub(rest, tonumber(length) + 1), tonumber(reserved_at)
  end
end
