// Line charts, drawn by hand as SVG. A chart is also a slider over its moments: pointer and arrow keys pick
// one, and its values are written below, for readers of screens and for those who can't see the lines.

const SVG = "http://www.w3.org/2000/svg";
const HEIGHT = 150;
const EDGE = { left: 52, right: 8, top: 8, bottom: 20 };
const STEPS = [1, 2, 2.5, 5, 10];

let charts = 0;

function make(name, attributes, parent) {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  parent?.append(element);
  return element;
}

/** Finds a round number at least as large. */
export function ceiling(value) {
  if (!(value > 0)) return 1;
  const power = 10 ** Math.floor(Math.log10(value));
  return STEPS.find((step) => step * power >= value * 0.999) * power;
}

/** One chart: a heading, the lines, and the values of the moment that is picked. */
export class Chart {
  /**
   * @param {HTMLElement} parent
   * @param {string} title
   * @param {string} about what it shows, in a sentence
   * @param {Array<{name: string, kind: string}>} lines their names, and how each looks
   * @param {(value: number) => string} write writes a value
   * @param {(ms: number) => string} clock writes a moment
   */
  constructor(parent, title, about, lines, write, clock) {
    this.lines = lines;
    this.write = write;
    this.clock = clock;
    this.moments = [];
    this.picked = null;
    const figure = document.createElement("figure");
    figure.className = "ops-card ops-chart";
    const caption = document.createElement("figcaption");
    const heading = document.createElement("h3");
    heading.textContent = title;
    heading.id = `chart-${++charts}`;
    const text = document.createElement("p");
    text.className = "ops-note";
    text.textContent = about;
    caption.append(heading, text);
    this.plot = document.createElement("div");
    this.plot.className = "ops-plot";
    this.plot.tabIndex = 0;
    this.plot.setAttribute("role", "slider");
    this.plot.setAttribute("aria-labelledby", heading.id);
    this.svg = make("svg", { "aria-hidden": "true", height: HEIGHT }, this.plot);
    this.legend = document.createElement("p");
    this.legend.className = "ops-legend";
    this.values = lines.map((line) => {
      const item = document.createElement("span");
      const swatch = make("svg", { width: 18, height: 8, "aria-hidden": "true" }, item);
      make("line", { x1: 0, y1: 4, x2: 18, y2: 4, class: `ops-line ops-${line.kind}` }, swatch);
      const value = document.createElement("b");
      item.append(` ${line.name} `, value);
      this.legend.append(item);
      return value;
    });
    this.when = document.createElement("span");
    this.when.className = "ops-when";
    this.legend.append(this.when);
    figure.append(caption, this.plot, this.legend);
    parent.append(figure);
    this.listen();
  }

  listen() {
    new ResizeObserver(() => this.draw()).observe(this.plot);
    this.plot.addEventListener("pointermove", (event) => {
      const inside = event.clientX - this.plot.getBoundingClientRect().left - EDGE.left;
      this.pick(Math.round((inside / this.width) * (this.moments.length - 1)));
    });
    for (const name of ["pointerleave", "blur"]) this.plot.addEventListener(name, () => this.pick(null));
    this.plot.addEventListener("keydown", (event) => {
      const last = this.moments.length - 1;
      const at = this.place;
      const moves = { ArrowLeft: at - 1, ArrowDown: at - 1, ArrowRight: at + 1, ArrowUp: at + 1 };
      const jumps = { Home: 0, End: last, PageDown: at - 10, PageUp: at + 10 };
      const to = { ...moves, ...jumps }[event.key];
      if (event.key === "Escape") this.pick(null);
      if (to === undefined || last < 0) return;
      event.preventDefault();
      this.pick(to);
    });
  }

  get width() {
    return Math.max(40, this.plot.clientWidth - EDGE.left - EDGE.right);
  }

  /** The picked moment's place, or that of the newest one with a value. */
  get place() {
    const found = this.moments.findIndex((moment) => moment.at === this.picked);
    if (found >= 0) return found;
    const newest = this.moments.findLastIndex((moment) => moment.values.some((value) => value != null));
    return newest >= 0 ? newest : this.moments.length - 1;
  }

  pick(place) {
    const last = this.moments.length - 1;
    this.picked = place === null || last < 0 ? null : this.moments[Math.min(last, Math.max(0, place))].at;
    this.draw();
  }

  /**
   * Shows a series.
   *
   * @param {Array<{at: number, values: Array<number | undefined>}>} moments a value for each line
   */
  show(moments) {
    this.moments = moments;
    this.draw();
  }

  draw() {
    if (!this.moments.length) return;
    const { width, moments } = this;
    const high = ceiling(Math.max(...moments.flatMap((moment) => moment.values.map((value) => value ?? 0))));
    const bottom = HEIGHT - EDGE.bottom;
    const x = (place) => EDGE.left + (place / Math.max(1, moments.length - 1)) * width;
    const y = (value) => bottom - (value / high) * (bottom - EDGE.top);
    this.svg.setAttribute("width", width + EDGE.left + EDGE.right);
    this.svg.replaceChildren();
    for (const value of [0, high / 2, high]) {
      make("line", { x1: EDGE.left, x2: EDGE.left + width, y1: y(value), y2: y(value), class: "ops-grid" }, this.svg);
      const label = make("text", { x: EDGE.left - 6, y: y(value) + 4, "text-anchor": "end" }, this.svg);
      label.textContent = value ? this.write(value) : "0";
    }
    const from = make("text", { x: EDGE.left, y: HEIGHT - 4 }, this.svg);
    from.textContent = this.clock(moments[0].at);
    const to = make("text", { x: EDGE.left + width, y: HEIGHT - 4, "text-anchor": "end" }, this.svg);
    to.textContent = this.clock(moments.at(-1).at);
    this.lines.forEach((line, index) => this.drawLine(line, index, x, y));
    if (this.picked !== null) {
      make("line", { x1: x(this.place), x2: x(this.place), y1: EDGE.top, y2: bottom, class: "ops-cross" }, this.svg);
    }
    this.tell();
  }

  drawLine(line, index, x, y) {
    const value = (place) => this.moments[place]?.values[index] ?? null;
    let path = "";
    this.moments.forEach((_, place) => {
      if (value(place) === null) return;
      const point = `${x(place).toFixed(1)} ${y(value(place)).toFixed(1)}`;
      const begins = value(place - 1) === null;
      path += begins ? `M${point}` : `L${point}`;
      if (begins && value(place + 1) === null) {
        // Alone: a line of no length is drawn as its round caps.
        path += `L${point}`;
      }
    });
    make("path", { d: path, class: `ops-line ops-${line.kind}` }, this.svg);
  }

  /** Writes the values of the picked moment, or of the newest one. */
  tell() {
    const { place } = this;
    const moment = this.moments[place];
    const written = moment.values.map((value) => (value == null ? "–" : this.write(value)));
    this.values.forEach((element, index) => {
      element.textContent = written[index];
    });
    this.when.textContent = this.clock(moment.at);
    const named = this.lines.map((line, index) => `${line.name} ${written[index]}`);
    this.plot.setAttribute("aria-valuemin", "0");
    this.plot.setAttribute("aria-valuemax", String(this.moments.length - 1));
    this.plot.setAttribute("aria-valuenow", String(place));
    this.plot.setAttribute("aria-valuetext", `${this.clock(moment.at)}: ${named.join(", ")}`);
  }
}
