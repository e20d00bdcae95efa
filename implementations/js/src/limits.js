/** Limits: those of the format, and those of a reader with their defaults. */

export const MAXINT = 2n ** 63n - 1n;
export const MAXJSON = 2n ** 53n - 1n;

/** Maxima of the format: no valid checkpoint is beyond them. */
export const FORMAT = Object.freeze({
  rootBytes: 67108864,
  jsonDepth: 64,
  jsonDigits: 4300,
  items: 4096,
  manifestDepth: 128,
  treeDepth: 64,
  dims: 64,
  tensors: 2n ** 32n - 2n,
  shards: 2n ** 40n,
  dtypes: 65536,
  dtypeBits: 65536n,
  codecs: 65535,
  chain: 4,
  headerBytes: 100000000n,
  alignment: 4096n,
  minBlock: 4096n,
  maxBlock: 2n ** 30n,
  zstdWindow: 2 ** 27,
  bigintBytes: 4096,
});

/** Limits of this reader. A caller may change each of them. */
export const DEFAULT_LIMITS = Object.freeze({
  max_manifest_raw_bytes: 2147483648,
  max_manifest_bytes: 2164260864,
  max_values: 33554432,
  max_box_numbers: 67108864,
  /** Bytes of one tensor, region or asset that are given back at once. */
  max_read_bytes: Infinity,
});

/** The default limits with those of the caller put over them. */
export function withDefaults(limits = {}) {
  return { ...DEFAULT_LIMITS, ...limits };
}
