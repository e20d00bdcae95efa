/**
 * JSON by the profile of section 6.2: no duplicate names, no lone surrogates, bounded depth.
 *
 * Integers become BigInt, all other numbers Number, so that `1` and `1.0` stay two values. Objects become Map.
 */

import { FORMAT } from './limits.js';
import { decodeUtf8 } from './text.js';

/** What is wrong with a text; the caller turns it into an error of its own code. */
export class JsonError extends Error {}

const SPACE = new Set([0x20, 0x09, 0x0a, 0x0d]);
const SIMPLE = { '"': '"', '\\': '\\', '/': '/', b: '\b', f: '\f', n: '\n', r: '\r', t: '\t' };
const EMPTY = Object.freeze(new Map());

/** Reads one JSON text from its start to its end. Values that nobody keeps are checked and not built. */
export class JsonReader {
  /** @param {Uint8Array} bytes */
  constructor(bytes) {
    const text = decodeUtf8(bytes);
    if (text === null) throw new JsonError('not UTF-8');
    this.text = text;
    this.at = 0;
    this.depth = 0;
  }

  fail(what) {
    throw new JsonError(`${what} at character ${this.at}`);
  }

  space() {
    while (SPACE.has(this.text.charCodeAt(this.at))) this.at += 1;
  }

  /** Steps over the character if it is the next one. */
  accept(character) {
    if (this.text[this.at] !== character) return false;
    this.at += 1;
    return true;
  }

  expect(character) {
    if (!this.accept(character)) this.fail(`expected ${character}`);
  }

  enter() {
    this.depth += 1;
    if (this.depth > FORMAT.jsonDepth) this.fail('nested too deeply');
  }

  /** Reads an object; `member(name)` has to read the value of each member. */
  object(member) {
    this.expect('{');
    this.enter();
    this.space();
    if (!this.accept('}')) {
      const names = new Set();
      do {
        this.space();
        const name = this.string(true);
        if (names.has(name)) this.fail('repeated name');
        names.add(name);
        this.space();
        this.expect(':');
        this.space();
        member(name);
        this.space();
      } while (this.accept(','));
      this.expect('}');
    }
    this.depth -= 1;
  }

  /** Reads an array; `element()` has to read each value. */
  array(element) {
    this.expect('[');
    this.enter();
    this.space();
    if (!this.accept(']')) {
      do {
        this.space();
        element();
        this.space();
      } while (this.accept(','));
      this.expect(']');
    }
    this.depth -= 1;
  }

  /** Reads any value, and gives it if it is to be kept. Empty objects are one shared Map. */
  value(keep = true) {
    const character = this.text[this.at];
    if (character === '{') {
      let members = EMPTY;
      this.object((name) => {
        const value = this.value(keep);
        if (keep) members = (members === EMPTY ? new Map() : members).set(name, value);
      });
      return members;
    }
    if (character === '[') {
      const elements = [];
      this.array(() => {
        const value = this.value(keep);
        if (keep) elements.push(value);
      });
      return elements;
    }
    if (character === '"') return this.string(keep);
    if (character === 't') return this.word('true', true);
    if (character === 'f') return this.word('false', false);
    if (character === 'n') return this.word('null', null);
    return this.number();
  }

  word(word, value) {
    if (!this.text.startsWith(word, this.at)) this.fail('no value');
    this.at += word.length;
    return value;
  }

  digits() {
    const start = this.at;
    for (;;) {
      const code = this.text.charCodeAt(this.at);
      if (!(code >= 0x30 && code <= 0x39)) break;
      this.at += 1;
    }
    if (this.at === start) this.fail('expected a digit');
    return this.at - start;
  }

  number() {
    const start = this.at;
    this.accept('-');
    const zero = this.text[this.at] === '0';
    const count = this.digits();
    if (zero && count > 1) this.fail('number with a leading zero');
    let integer = true;
    if (this.accept('.')) {
      integer = false;
      this.digits();
    }
    if (this.accept('e') || this.accept('E')) {
      integer = false;
      if (!this.accept('+')) this.accept('-');
      this.digits();
    }
    if (integer && count > FORMAT.jsonDigits) this.fail('integer with too many digits');
    const token = this.text.slice(start, this.at);
    if (integer) return BigInt(token);
    const value = Number(token);
    if (!Number.isFinite(value)) this.fail('number out of range');
    return value;
  }

  string(keep) {
    this.expect('"');
    let result = '';
    let start = this.at;
    for (;;) {
      const code = this.text.charCodeAt(this.at);
      if (code === 0x22) break;
      if (!(code >= 0x20)) this.fail(Number.isNaN(code) ? 'text without an end' : 'control character in a text');
      if (code !== 0x5c) {
        this.at += 1;
        continue;
      }
      if (keep) result += this.text.slice(start, this.at);
      const character = this.escape();
      if (keep) result += character;
      start = this.at;
    }
    if (keep) result += this.text.slice(start, this.at);
    this.at += 1;
    return result;
  }

  escape() {
    this.at += 1;
    const letter = this.text[this.at];
    if (letter !== 'u') {
      if (letter === undefined || !Object.hasOwn(SIMPLE, letter)) this.fail('unknown escape');
      this.at += 1;
      return SIMPLE[letter];
    }
    const unit = this.hex4();
    if (unit < 0xd800 || unit > 0xdfff) return String.fromCharCode(unit);
    if (unit > 0xdbff || !this.text.startsWith('\\u', this.at)) this.fail('lone surrogate');
    this.at += 1;
    const low = this.hex4();
    if (low < 0xdc00 || low > 0xdfff) this.fail('lone surrogate');
    return String.fromCharCode(unit, low);
  }

  /** The four digits after the `u` that is the next character. */
  hex4() {
    const digits = this.text.slice(this.at + 1, this.at + 5);
    if (!/^[0-9a-fA-F]{4}$/.test(digits)) this.fail('escape without four digits');
    this.at += 5;
    return Number.parseInt(digits, 16);
  }

  /** Refuses anything but the given whitespace up to the end. */
  end(only = null) {
    if (only === null) this.space();
    else while (this.text[this.at] === only) this.at += 1;
    if (this.at !== this.text.length) this.fail('something after the object');
  }
}
