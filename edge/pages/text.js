/**
 * The text, as it grows: appended, never made anew, and never read as anything but text.
 *
 * What comes within one frame is one node. Long texts are cut into blocks at line breaks, so that the
 * browser lays out the last one alone.
 */

const BLOCK = 4000;
const LONGEST_BLOCK = 64_000;

export class Text {
  #host;
  #block = null;
  #length = 0;
  #pending = [];
  #frame = 0;

  /** @param {HTMLElement} host An element of its own; it scrolls. */
  constructor(host) {
    this.#host = host;
  }

  /** Begin anew. */
  clear() {
    cancelAnimationFrame(this.#frame);
    this.#frame = 0;
    this.#pending = [];
    this.#host.replaceChildren();
    this.#block = null;
    this.#length = 0;
  }

  /** Append text. */
  add(text) {
    if (text) this.#queue(text);
  }

  /** Mark where the connection was cut. The mark is no part of the text. */
  mark(title) {
    const seam = document.createElement('span');
    seam.className = 'seam';
    seam.title = title;
    this.#queue(seam);
  }

  #queue(piece) {
    this.#pending.push(piece);
    this.#frame ||= requestAnimationFrame(() => this.#flush());
  }

  #flush() {
    this.#frame = 0;
    const host = this.#host;
    const follows = host.scrollHeight - host.scrollTop - host.clientHeight < 40;
    let run = '';
    for (const piece of this.#pending) {
      if (typeof piece === 'string') run += piece;
      else {
        this.#write(run);
        run = '';
        this.#place(piece);
      }
    }
    this.#write(run);
    this.#pending = [];
    if (follows) host.scrollTop = host.scrollHeight;
  }

  #write(text) {
    let rest = text;
    while (this.#length + rest.length > BLOCK) {
      const end = this.#breakIn(rest);
      if (end === 0) break;
      this.#append(rest.slice(0, end));
      this.#block = null;
      rest = rest.slice(end);
    }
    if (rest) this.#append(rest);
  }

  /** Where a block may end: behind a line break, or, in a text without any, behind a space. */
  #breakIn(text) {
    const room = Math.max(0, BLOCK - this.#length);
    const line = text.indexOf('\n', room) + 1;
    if (line && line + this.#length < LONGEST_BLOCK) return line;
    if (this.#length + text.length < LONGEST_BLOCK) return 0;
    const space = text.indexOf(' ', Math.max(0, LONGEST_BLOCK - this.#length)) + 1;
    return space || Math.min(text.length, LONGEST_BLOCK);
  }

  #append(text) {
    this.#place(document.createTextNode(text));
    this.#length += text.length;
  }

  #place(node) {
    if (this.#block === null) {
      this.#block = document.createElement('div');
      this.#host.append(this.#block);
      this.#length = 0;
    }
    this.#block.append(node);
  }
}
