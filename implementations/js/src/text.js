/** Text and bytes: UTF-8, hexadecimal, order of text, text that is safe to show. */

const strict = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });
const encoder = new TextEncoder();
const DIGITS = '0123456789abcdef';

/** Longest text that every engine can hold. */
const LONGEST = 2 ** 29 - 25;

/** Text of bytes that are valid UTF-8, byte order marks kept; null for all others. */
export function decodeUtf8(bytes) {
  if (bytes.length > LONGEST) throw new RangeError('a text that is too long for this engine');
  try {
    return strict.decode(bytes);
  } catch (error) {
    if (error instanceof TypeError) return null;
    throw error;
  }
}

/** UTF-8 bytes of a text without lone surrogates. */
export function encodeUtf8(text) {
  return encoder.encode(text);
}

/** Number of bytes of a text in UTF-8. */
export function utf8Length(text) {
  let length = 0;
  for (let i = 0; i < text.length; i += 1) {
    const unit = text.charCodeAt(i);
    // a surrogate is half of a character of four bytes
    length += unit < 0x80 ? 1 : unit < 0x800 ? 2 : unit >= 0xd800 && unit < 0xe000 ? 2 : 3;
  }
  return length;
}

/** Order of two texts by their UTF-8 bytes, which is the order of their code points. */
export function compareText(a, b) {
  const end = Math.min(a.length, b.length);
  for (let i = 0; i < end; i += 1) {
    let x = a.charCodeAt(i);
    let y = b.charCodeAt(i);
    if (x !== y) {
      // surrogates stand for code points above all others
      if (x >= 0xd800) x = x < 0xe000 ? x + 0x2000 : x - 0x800;
      if (y >= 0xd800) y = y < 0xe000 ? y + 0x2000 : y - 0x800;
      return x - y;
    }
  }
  return a.length - b.length;
}

/** Hexadecimal digits of bytes, lower case. */
export function toHex(bytes) {
  let text = '';
  for (const byte of bytes) text += DIGITS[byte >> 4] + DIGITS[byte & 15];
  return text;
}

/** Whether two byte arrays are equal. */
export function sameBytes(a, b) {
  if (a.length !== b.length) return false;
  for (let i = 0; i < a.length; i += 1) if (a[i] !== b[i]) return false;
  return true;
}

/** The text with control characters, and characters that change the direction of writing, as escapes. */
export function show(text) {
  return text.replace(/[\u0000-\u001f\u007f-\u009f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]/g, (character) => {
    return `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`;
  });
}
