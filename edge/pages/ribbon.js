/**
 * The ribbon: above, when the worker wrote each chunk; below, when it arrived here.
 *
 * While the connection lasts the threads between fall straight down. After a cut they fan in: what
 * was written meanwhile arrives at once, and not one thread is missing.
 */

const MOST = 3000;
const SHORTEST_MS = 2500;

export class Ribbon {
  #canvas;
  #points = [];
  #every = 1;
  #seen = 0;
  #seams = [];

  /** @param {HTMLCanvasElement} canvas It is drawn at the size that it has. */
  constructor(canvas) {
    this.#canvas = canvas;
  }

  /** Begin anew. */
  clear() {
    this.#points = [];
    this.#seams = [];
    this.#every = 1;
    this.#seen = 0;
  }

  /** Note a chunk: when it arrived, in ms since the start, and when it was written, by the server. */
  add(at, timestamp) {
    if (this.#seen++ % this.#every) return;
    this.#points.push([timestamp, at]);
    if (this.#points.length > MOST) {
      // Of very many, every second will do.
      this.#points = this.#points.filter((_, place) => place % 2 === 0);
      this.#every *= 2;
    }
  }

  /** Note a cut: `{at, resumedAt}`; the latter may be told later. */
  part(seam) {
    this.#seams.push(seam);
  }

  /** Draw what there is, up to now; a run that is over takes the whole width. */
  draw(now, offset, over) {
    const { width, height, context, colour } = this.#prepare();
    const first = this.#points.length ? this.#points[0][0] + offset : 0;
    const from = Math.min(0, first);
    const span = Math.max(over ? 1 : SHORTEST_MS, now - from);
    const x = (ms) => 3 + ((ms - from) / span) * (width - 6);
    const top = 1;
    const bottom = height - 1;
    const tick = Math.round(height * 0.26);
    for (const { at, resumedAt } of this.#seams) {
      context.fillStyle = colour('--warn-wash');
      context.fillRect(x(at), 0, Math.max(2, x(resumedAt ?? now) - x(at)), height);
      context.fillStyle = colour('--warn');
      context.fillRect(x(at), 0, 1.5, height);
      if (resumedAt !== null) context.fillRect(x(resumedAt), 0, 1.5, height);
    }
    context.globalAlpha = 0.45;
    this.#stroke(context, colour('--edge'), (line, written, at) => {
      line.moveTo(x(written + offset), top + tick);
      line.lineTo(x(at), bottom - tick);
    });
    context.globalAlpha = 1;
    this.#stroke(context, colour('--soft'), (line, written) => {
      line.moveTo(x(written + offset), top);
      line.lineTo(x(written + offset), top + tick);
    });
    this.#stroke(context, colour('--accent'), (line, _written, at) => {
      line.moveTo(x(at), bottom - tick);
      line.lineTo(x(at), bottom);
    });
    context.fillStyle = colour('--line');
    context.fillRect(Math.min(width - 1, x(now)), 0, 1, height);
  }

  #stroke(context, style, trace) {
    context.strokeStyle = style;
    context.beginPath();
    for (const [written, at] of this.#points) trace(context, written, at);
    context.stroke();
  }

  #prepare() {
    const canvas = this.#canvas;
    const { clientWidth: width, clientHeight: height } = canvas;
    const scale = devicePixelRatio;
    if (
      canvas.width !== Math.round(width * scale) ||
      canvas.height !== Math.round(height * scale)
    ) {
      canvas.width = Math.round(width * scale);
      canvas.height = Math.round(height * scale);
    }
    const context = canvas.getContext('2d');
    context.setTransform(scale, 0, 0, scale, 0, 0);
    context.clearRect(0, 0, width, height);
    context.lineWidth = 1.5;
    const styles = getComputedStyle(canvas);
    return { width, height, context, colour: (name) => styles.getPropertyValue(name) };
  }
}
