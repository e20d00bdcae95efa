/**
 * Nodes of a tree that JavaScript has no values for.
 *
 * nil is null, integers of any size are BigInt, floats Number (NanBits for an unusual NaN), text is string, bytes are
 * Uint8Array, a list is an Array; everything else is a class of this module.
 */

/** A NaN whose bits are not the usual ones; `valueOf` is NaN. */
export class NanBits {
  /** @param {bigint} bits all 64 of them */
  constructor(bits) {
    this.bits = bits;
  }

  valueOf() {
    return NaN;
  }
}

/** A map with its order kept; keys are string or BigInt. */
export class MapNode {
  /** @type {Map<string | bigint, unknown> | null} */
  #index = null;

  /**
   * @param {(string | bigint)[]} keys
   * @param {unknown[]} values
   */
  constructor(keys, values) {
    this.keys = keys;
    this.values = values;
  }

  get size() {
    return this.keys.length;
  }

  get(key) {
    if (this.keys.length <= 8) {
      const at = this.keys.indexOf(key);
      return at === -1 ? undefined : this.values[at];
    }
    this.#index ??= new Map(this.keys.map((own, i) => [own, this.values[i]]));
    return this.#index.get(key);
  }

  has(key) {
    if (this.keys.length <= 8) return this.keys.includes(key);
    return this.get(key) !== undefined;
  }

  *[Symbol.iterator]() {
    for (let i = 0; i < this.keys.length; i += 1) yield [this.keys[i], this.values[i]];
  }
}

MapNode.EMPTY = new MapNode([], []);

/** A reference to a tensor of the item, by its number. */
export class TensorRef {
  constructor(number) {
    this.number = number;
  }
}

/** A list that cannot be changed, in the language that saved it. */
export class Tuple {
  constructor(elements) {
    this.elements = elements;
  }
}

/** A complex number of two binary64. */
export class Complex {
  constructor(real, imaginary) {
    this.real = real;
    this.imaginary = imaginary;
  }
}

/** A time: seconds since 1970 (BigInt), nanoseconds, and seconds ahead of UTC, null if no zone is known. */
export class Timestamp {
  constructor(seconds, nanoseconds, offset) {
    this.seconds = seconds;
    this.nanoseconds = nanoseconds;
    this.offset = offset;
  }
}

/** One value for each coordinate along an axis, `values[i]` for coordinate i. */
export class Indexed {
  constructor(axis, values) {
    this.axis = axis;
    this.values = values;
  }

  get size() {
    return this.values.length;
  }
}

/** A set of texts or of integers, in ascending order. */
export class SetNode {
  constructor(elements) {
    this.elements = elements;
  }
}

/** A tensor subclass: the plain tensors inside it, and what else it takes to rebuild it. */
export class Flattened {
  constructor(inner, attributes) {
    this.inner = inner;
    this.attributes = attributes;
  }
}

/** A dtype as a value. */
export class DtypeNode {
  constructor(name) {
    this.name = name;
  }
}
