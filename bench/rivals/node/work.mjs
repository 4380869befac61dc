// The work of one stream, the same for both rivals; see bench/target.py.

const AT_ONCE = 100; // chunks in a row, when they are due, before other streams get their turn

/** Make a chunk, now, as JSON. */
function encodeChunk(index) {
  const text = `${index}:${process.hrtime.bigint()};`;
  return JSON.stringify({ text, index, timestamp: Date.now() });
}

/**
 * Make all chunks of a stream, each at its time, whether or not the ones before have been delivered:
 * a late chunk does not make the next ones late.
 *
 * @param work {events, interval, delay}, times in s.
 * @param emit Called with each chunk, as JSON, and its index.
 * @param end Called once, after the last one.
 */
export function produce({ events, interval, delay }, emit, end) {
  const began = performance.now() + delay * 1000;
  const due = (index) => began + index * interval * 1000;
  let index = 0;

  function tick() {
    const upto = Math.min(events, index + AT_ONCE);
    const now = performance.now();
    while (index < upto && due(index) <= now) {
      emit(encodeChunk(index), index);
      index += 1;
    }
    if (index === events) {
      end();
    } else {
      wait();
    }
  }

  function wait() {
    const ahead = due(index) - performance.now();
    if (ahead > 0) {
      setTimeout(tick, Math.ceil(ahead)); // rounded down, it would come early
    } else {
      setImmediate(tick);
    }
  }

  wait();
}
