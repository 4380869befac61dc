/** SIGTERM and SIGINT: skill servers end their streams, then the signal does what it does. */

const SIGNALS = ['SIGTERM', 'SIGINT'] as const;

type Signal = (typeof SIGNALS)[number];

/** What is closed by a signal. */
interface Closable {
  close(): Promise<void>;
}

const watched = new Set<Closable>();
let closing = false;

/** Has a server closed by a signal; returns what ends that. */
export function closeOnSignals(server: Closable): () => void {
  if (watched.size === 0) {
    for (const signal of SIGNALS) {
      process.on(signal, onSignal);
    }
  }
  watched.add(server);
  return () => {
    watched.delete(server);
    if (watched.size === 0 && !closing) {
      ignoreSignals();
    }
  };
}

function ignoreSignals(): void {
  for (const signal of SIGNALS) {
    process.off(signal, onSignal);
  }
}

/** Closes all servers; a second signal does not wait for that. */
function onSignal(signal: Signal): void {
  if (closing) {
    passOn(signal);
    return;
  }
  closing = true;
  const closed = Promise.all([...watched].map((server) => server.close()));
  void closed.finally(() => {
    closing = false;
    passOn(signal);
  });
}

/** Lets the signal end the process, unless somebody else handles it. */
function passOn(signal: Signal): void {
  ignoreSignals();
  if (process.listenerCount(signal) === 0) {
    process.kill(process.pid, signal);
  }
}
