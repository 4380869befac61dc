// The operations page: asks GET /v1/operations every two seconds, as any script could, and shows the answer.

import { Chart } from "./chart.js";
import { meaning } from "./codes.js";
import { clock, count, duration, money, rate, share } from "./quantities.js";
import { fill } from "./table.js";

const EVERY = 2000;
const GIVE_UP = 5000;
const STALE = 8000;
const KEY = "machpay-key";

const $ = (id) => document.getElementById(id);

// -- charts

const PERCENTILES = [
  { name: "p50", kind: "first" },
  { name: "p95", kind: "second" },
  { name: "p99", kind: "third" },
];
const OUTCOMES = [
  { name: "started", kind: "first" },
  { name: "ended", kind: "second" },
  { name: "failed", kind: "third" },
];

function latencies(title, about, metric) {
  const chart = new Chart($("charts"), title, about, PERCENTILES, duration, clock);
  return ({ series }) =>
    chart.show(
      series.map((moment) => {
        const found = moment[metric];
        return { at: moment.at, values: [found?.p50_ms, found?.p95_ms, found?.p99_ms] };
      }),
    );
}

function rates() {
  const about = "Executions a second. Failed: neither completed nor cancelled.";
  const chart = new Chart($("charts"), "Executions", about, OUTCOMES, rate, clock);
  return ({ series, step_ms: step }) =>
    chart.show(
      // Without the last step, which has only begun.
      series.slice(0, -1).map(({ at, started, ended, failed }) => ({
        at,
        values: [started, ended, failed].map((n) => (1000 * n) / step),
      })),
    );
}

const CHARTS = [
  latencies("Start to first chunk", "As the edge measures it that streams the execution.", "first_chunk"),
  latencies("Delivery", "From when a chunk is made to the reader's socket; a sample.", "delivery"),
  latencies("Wait in the queue", "From the start until a worker takes it.", "queue_wait"),
  rates(),
];

// -- tiles and tables

function tile(name, value, note, state = "") {
  const [, shown, beside] = $(`tile-${name}`).children;
  if (shown.textContent !== value) shown.textContent = value;
  if (beside.textContent !== note) beside.textContent = note;
  $(`tile-${name}`).dataset.state = state;
}

// What is never a skill's own doing: one of these is worth a look.
const OURS = new Set(["internal", "log_lost", "queue_timeout", "worker_lost"]);

function alarm({ failed, ended }, errors) {
  const part = ended ? failed / ended : 0;
  if (part >= 0.1 || errors.some(({ code }) => OURS.has(code))) return "bad";
  return part >= 0.01 ? "warn" : "";
}

function tiles({ queue, workers, edges, total, minutes, errors }) {
  const capacity = workers.reduce((sum, worker) => sum + (worker.draining ? 0 : worker.max_jobs), 0);
  const leaving = workers.filter((worker) => worker.draining).length;
  const streams = edges.reduce((sum, edge) => sum + edge.streams, 0);
  const old = queue.oldest_age_ms > 10_000 ? "bad" : queue.oldest_age_ms > 1000 ? "warn" : "";
  tile("waiting", count(queue.waiting), queue.waiting ? `the oldest for ${duration(queue.oldest_age_ms)}` : "the queue is empty", old);
  tile("running", count(queue.running), `of ${count(capacity)} at once`, capacity && queue.running >= capacity ? "warn" : "");
  tile("workers", count(workers.length), leaving ? `${leaving} draining` : workers.length ? "all take work" : "nothing runs", workers.length ? "" : "bad");
  tile("failed", share(total.failed, total.ended), `${count(total.failed)} of ${count(total.ended)} ended`, alarm(total, errors));
  tile("started", count(total.started), `in ${minutes} min`);
  tile("edges", count(streams), edges.length === 1 ? "at 1 edge" : `at ${edges.length} edges`);
}

function execution(id) {
  return { text: id, title: id, href: `/?execution=${encodeURIComponent(id)}`, kind: "id" };
}

function place({ host, pid, id }) {
  return { text: `${host} · ${pid}`, title: id };
}

function state({ draining }) {
  return draining ? { text: "draining", kind: "warn" } : "serving";
}

function tables({ now, errors, workers, edges, running, recent }) {
  const up = ({ started_at: since }) => duration(Math.max(0, now - since));
  const names = new Map(workers.map((worker) => [worker.id, place(worker).text]));
  fill(
    $("errors"),
    errors.map(({ code, executions }) => ({
      key: code,
      cells: [{ text: code, kind: "id", title: meaning(code) }, count(executions), meaning(code)],
    })),
    "No execution ended with an error.",
  );
  fill(
    $("workers"),
    workers.map((worker) => ({
      key: worker.id,
      cells: [
        place(worker),
        { text: `${worker.running} of ${worker.max_jobs}`, load: worker.running / worker.max_jobs },
        `${count(worker.running)} / ${count(worker.max_jobs)}`,
        count(worker.skills),
        up(worker),
        worker.version,
        state(worker),
      ],
    })),
    "No worker lives: executions wait in the queue.",
  );
  fill(
    $("edges"),
    edges.map((edge) => ({
      key: edge.id,
      cells: [place(edge), count(edge.streams), up(edge), edge.version, state(edge)],
    })),
    "No edge has said anything yet.",
  );
  fill(
    $("running"),
    running.map((run) => ({
      key: run.execution_id,
      cells: [
        execution(run.execution_id),
        run.skill_id,
        run.account,
        run.attempt ? String(run.attempt) : "–",
        duration(run.age_ms),
        { text: names.get(run.worker) ?? run.worker, title: run.worker },
      ],
    })),
    "Nothing runs.",
  );
  fill(
    $("recent"),
    recent.map((row) => {
      const completed = row.outcome === "completed";
      return {
        key: `${row.execution_id}@${row.created_at}`, // a name may have run twice
        cells: [
          execution(row.execution_id),
          { text: row.outcome, kind: completed ? "good" : "bad", title: completed ? "" : meaning(row.outcome) },
          row.skill_id,
          row.account,
          completed ? duration(row.duration_ms) : "–",
          count(row.tokens_used),
          money(row.cost_usd),
          clock(row.ended_at),
        ],
      };
    }),
    "Nothing ended within a day.",
  );
}

// -- asking

let seenAt = null;
let asking = null;
let timer = null;

function say(text, kind) {
  document.body.dataset.state = kind;
  if ($("state").textContent !== text) $("state").textContent = text;
}

function askForKey(why) {
  const form = $("key-form");
  $("key-why").textContent = why;
  say("Waiting for a key", "warn");
  if (form.hidden) {
    form.hidden = false;
    $("key").focus();
  }
}

async function ask(signal) {
  const key = sessionStorage.getItem(KEY);
  const headers = key ? { Authorization: `Bearer ${key}` } : {};
  const answer = await fetch(`/v1/operations?minutes=${$("minutes").value}`, { headers, signal });
  if (answer.status === 401) {
    return askForKey(key ? "That key is not known. An operator's API key" : "An operator's API key");
  }
  if (answer.status === 403) return askForKey("That key is no operator's. An operator's API key");
  const body = await answer.json();
  if (!answer.ok) return say(`No figures: ${body.error?.message ?? answer.status}`, "bad");
  $("key-form").hidden = true;
  seenAt = Date.now();
  $("seen").textContent = clock(body.now);
  say("Live", "good");
  tiles(body);
  for (const show of CHARTS) show(body);
  tables(body);
}

async function poll() {
  clearTimeout(timer);
  asking?.abort();
  const mine = (asking = new AbortController());
  const limit = setTimeout(() => mine.abort(), GIVE_UP);
  try {
    await ask(mine.signal);
  } catch (error) {
    if (mine !== asking) return; // another one is on its way
    say("The edge can't be reached", "bad");
    if (!(error instanceof TypeError || error.name === "AbortError")) console.error(error);
  } finally {
    clearTimeout(limit);
  }
  if (mine !== asking) return;
  document.body.classList.toggle("ops-stale", seenAt === null || Date.now() - seenAt > STALE);
  if (!document.hidden) timer = setTimeout(poll, EVERY);
}

document.addEventListener("visibilitychange", () => {
  if (document.hidden) clearTimeout(timer);
  else poll();
});
$("minutes").addEventListener("change", poll);
$("key-form").addEventListener("submit", (event) => {
  event.preventDefault();
  sessionStorage.setItem(KEY, $("key").value.trim());
  $("key").value = "";
  poll();
});

poll();
