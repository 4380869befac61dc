// How quantities are written: short, and always the same way.

const DASH = "–";

function rounded(value) {
  if (value >= 100) return String(Math.round(value));
  return value.toFixed(value >= 10 ? 1 : 2).replace(/\.?0+$/, "");
}

/** Writes a duration given in ms. */
export function duration(ms) {
  if (ms === undefined || ms === null) return DASH;
  if (ms < 1000) return `${rounded(ms)} ms`;
  const s = ms / 1000;
  if (s < 60) return `${rounded(s)} s`;
  if (s < 3600) return `${Math.floor(s / 60)} min ${Math.floor(s % 60)} s`;
  if (s < 86400) return `${Math.floor(s / 3600)} h ${Math.floor((s % 3600) / 60)} min`;
  return `${Math.floor(s / 86400)} d ${Math.floor((s % 86400) / 3600)} h`;
}

/** Writes a number of things. */
export function count(n) {
  return n.toLocaleString("en");
}

/** Writes how many a second. */
export function rate(perSecond) {
  return `${rounded(perSecond)}/s`;
}

/** Writes a part of a whole; a dash when there is no whole. */
export function share(part, whole) {
  if (!whole) return DASH;
  const percent = (100 * part) / whole;
  return percent > 0 && percent < 0.1 ? "< 0.1 %" : `${rounded(percent)} %`;
}

/** Writes the time of day of a moment given in ms since the epoch. */
export function clock(ms) {
  return new Date(ms).toLocaleTimeString("en-GB");
}

/** Writes an amount of money, exact to the micro-dollar. */
export function money(usd) {
  return usd === 0 ? "0" : usd.toFixed(6).replace(/0+$/, "").replace(/\.$/, "");
}
