export type PathComponent = string | bigint;
export type Digests = Record<string, (bytes: Uint8Array) => Uint8Array>;

export class ScfError extends Error {
  constructor(code: string, message: string, about?: { phase?: string; subject?: string; cause?: unknown });
  readonly code: string;
  readonly phase: string;
  /** Key, path or name that the error is about, not escaped. */
  readonly subject: string;
}

/** What a reader needs of a store. Keys are relative to it. */
export interface Store {
  /** All bytes; null if there is no such key; ScfError `limit.exceeded` if there are more than `limit`. */
  get(key: string, limit: number): Promise<Uint8Array | null>;
  /** The bytes [start, end); null if there is no such key. */
  getRange(key: string, start: number, end: number): Promise<Uint8Array | null>;
  stat(key: string): Promise<{ size: number } | null>;
  /** Distinct first segments below a prefix, which is empty or ends in `/`. */
  listNames(prefix: string): Promise<string[]>;
}

export class MemoryStore implements Store {
  constructor(objects?: Iterable<[string, Uint8Array]>);
  objects: Map<string, Uint8Array>;
  get(key: string, limit: number): Promise<Uint8Array | null>;
  getRange(key: string, start: number, end: number): Promise<Uint8Array | null>;
  stat(key: string): Promise<{ size: number } | null>;
  listNames(prefix: string): Promise<string[]>;
}

export class HttpStore implements Store {
  constructor(base: string | URL, options?: { fetch?: typeof fetch; headers?: Record<string, string> });
  get(key: string, limit: number): Promise<Uint8Array | null>;
  getRange(key: string, start: number, end: number): Promise<Uint8Array | null>;
  stat(key: string): Promise<{ size: number } | null>;
  listNames(prefix: string): Promise<string[]>;
}

export interface Limits {
  max_manifest_raw_bytes: number;
  max_manifest_bytes: number;
  max_values: number;
  max_box_numbers: number;
  max_read_bytes: number;
}
export const DEFAULT_LIMITS: Readonly<Limits>;

export interface OpenOptions {
  /** Root digest that the checkpoint has to have. */
  expect?: string | null;
  limits?: Partial<Limits>;
  /** Requests to the store at a time. */
  concurrency?: number;
}

export type MetadataValue = null | boolean | bigint | number | string | MetadataValue[] | Map<string, MetadataValue>;

export interface Descriptor {
  checkpoint: string;
  key: string;
  storeKey: string;
  external: boolean;
  item: string;
  size: bigint;
  sha256: string;
}

export interface RootItem {
  kind: 'model' | 'optimizer' | 'scheduler' | 'rng' | 'dataloader' | 'other';
  manifest: Descriptor & { attempt: string };
  rawSize: bigint;
  counts: { tensors: bigint; shards: bigint; objects: bigint; bytes: bigint };
  assets: Map<string, Descriptor>;
}

export interface Root {
  checkpoint: string;
  digest: string;
  spec: string;
  attempt: string;
  created: string;
  writer: { name: string; version: string };
  features: { read: string[]; write: string[] };
  sequence: bigint;
  parent: string | null;
  metadata: Map<string, MetadataValue>;
  items: Map<string, RootItem>;
  external: { checkpoint: string; digest: string }[];
}

export class NanBits {
  constructor(bits: bigint);
  readonly bits: bigint;
}
export class TensorRef {
  constructor(number: number);
  readonly number: number;
}
export class MapNode {
  static readonly EMPTY: MapNode;
  constructor(keys: PathComponent[], values: Node[]);
  readonly keys: PathComponent[];
  readonly values: Node[];
  readonly size: number;
  get(key: PathComponent): Node | undefined;
  has(key: PathComponent): boolean;
  [Symbol.iterator](): Iterator<[PathComponent, Node]>;
}
export class Tuple {
  constructor(elements: Node[]);
  readonly elements: Node[];
}
export class Complex {
  constructor(real: number | NanBits, imaginary: number | NanBits);
  readonly real: number | NanBits;
  readonly imaginary: number | NanBits;
}
export class Timestamp {
  constructor(seconds: bigint, nanoseconds: number, offset: number | null);
  readonly seconds: bigint;
  readonly nanoseconds: number;
  readonly offset: number | null;
}
export class Indexed {
  constructor(axis: string, values: Node[]);
  readonly axis: string;
  readonly values: Node[];
  readonly size: number;
}
export class SetNode {
  constructor(elements: string[] | bigint[]);
  readonly elements: string[] | bigint[];
}
export class Flattened {
  constructor(inner: MapNode, attributes: Node);
  readonly inner: MapNode;
  readonly attributes: Node;
}
export class DtypeNode {
  constructor(name: string);
  readonly name: string;
}
export type Node = null | boolean | bigint | number | NanBits | string | Uint8Array | Node[] | MapNode | TensorRef | Tuple | Complex
  | Timestamp | Indexed | SetNode | Flattened | DtypeNode;

export interface RequestedRegion {
  offset: (bigint | number)[];
  size: (bigint | number)[];
  run?: (bigint | number)[] | null;
}

export class Item {
  readonly name: string;
  readonly kind: RootItem['kind'];
  readonly tree: MapNode;
  readonly tensorCount: number;
  tensor(number: number): { number: number; name: string; dtype: string; bits: bigint; shape: bigint[] };
  tensorLeaves(): { path: PathComponent[]; number: number }[];
  tensorAt(path: (PathComponent | number)[]): number;
  read(tensor: number | (PathComponent | number)[], options?: { region?: RequestedRegion | null; verify?: boolean }): Promise<Uint8Array>;
}

export class Checkpoint {
  static open(store: Store, name: string, options?: OpenOptions): Promise<Checkpoint>;
  readonly root: Root;
  item(name: string): Promise<Item>;
  asset(item: string, name: string): Promise<Uint8Array>;
}

export interface Finding {
  code: string;
  subject: string;
  message: string;
}
export function verify(store: Store, checkpoint: string, options?: OpenOptions & { deep?: boolean }): Promise<{ sound: boolean; findings: Finding[] }>;

export interface Listed {
  name: string;
  root: Root | null;
  error: ScfError | null;
}
export function list(store: Store): Promise<Listed[]>;
export function newest(listed: Listed[]): { newest: Listed | null; unreadable: Listed[] };

export const CODECS: readonly string[];
export const DIGESTS: readonly string[];
export const DTYPES: Map<string, { name: string; bits: bigint; container: string; lanes: bigint }>;

/** The text with control characters, and characters that change the direction of writing, as escapes. */
export function show(text: string): string;
export function nodeAt(top: Node, path: PathComponent[]): Node | undefined;
/** The tensor name that a path derives. */
export function tensorName(path: PathComponent[], digests: Digests): string;
