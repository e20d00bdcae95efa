/** The registry of dtypes: bits of an element, and how it lies in the header of a data object. */

// name, bits, container, lanes
const ROWS = [
  ['BOOL', 8, 'BOOL', 1],
  ['U8', 8, 'U8', 1],
  ['I8', 8, 'I8', 1],
  ['U16', 16, 'U16', 1],
  ['I16', 16, 'I16', 1],
  ['F16', 16, 'F16', 1],
  ['BF16', 16, 'BF16', 1],
  ['U32', 32, 'U32', 1],
  ['I32', 32, 'I32', 1],
  ['F32', 32, 'F32', 1],
  ['U64', 64, 'U64', 1],
  ['I64', 64, 'I64', 1],
  ['F64', 64, 'F64', 1],
  ['F8_E4M3', 8, 'F8_E4M3', 1],
  ['F8_E5M2', 8, 'F8_E5M2', 1],
  ['F8_E8M0', 8, 'F8_E8M0', 1],
  ['F8_E4M3FNUZ', 8, 'F8_E4M3FNUZ', 1],
  ['F8_E5M2FNUZ', 8, 'F8_E5M2FNUZ', 1],
  ['F4', 4, 'F4', 1],
  ['F6_E2M3', 6, 'F6_E2M3', 1],
  ['F6_E3M2', 6, 'F6_E3M2', 1],
  ['C64', 64, 'C64', 1],
  ['C32', 32, 'F16', 2],
  ['C128', 128, 'F64', 2],
];

/** @type {Map<string, {name: string, bits: bigint, container: string, lanes: bigint}>} */
export const DTYPES = new Map(
  ROWS.map(([name, bits, container, lanes]) => [
    name,
    Object.freeze({ name, bits: BigInt(bits), container, lanes: BigInt(lanes) }),
  ]),
);

/** Bits of the elements that a header can name: the containers of the registry. */
export const CONTAINER_BITS = new Map(
  [...DTYPES.values()].filter((row) => row.lanes === 1n).map((row) => [row.container, row.bits]),
);

/** Form of every dtype name, known or not. */
export const DTYPE_NAME = /^[A-Za-z_][A-Za-z0-9_]{0,63}$/;
