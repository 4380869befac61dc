/** The playground: what is chosen, what runs, and what the address says; the parts do the rest. */

import * as api from './api.js';
import { Input } from './input.js';
import { duration } from './meter.js';
import { copy, readLink, shareButton } from './share.js';
import { Sheet } from './sheet.js';
import { SkillList } from './skills.js';
import { snippet } from './snippets.js';

const LOOK_EVERY_MS = 5000;

const at = (id) => document.getElementById(id);
const skills = new SkillList(document, (id) => choose(id, { visit: true }));
const input = new Input(document, () => showCode());
const sheet = new Sheet(document, {
  pricing: (id) => skills.found.get(id)?.pricing,
  changed: (watch) => follow(watch),
});
let shownSkill = null;
let wantsKey = false;

/** Choose a skill: its fields are shown, its input is as it was. */
function choose(id, { visit = false } = {}) {
  const skill = skills.found.get(id);
  skills.mark(skill ? id : null);
  at('run').disabled = !skill;
  at('chosen').hidden = at('code').hidden = !skill;
  if (!skill) return;
  // The schema may come, or change, while the page is open.
  const asked = JSON.stringify([id, skill.input_schema]);
  if (asked !== shownSkill) {
    shownSkill = asked;
    input.use(skill);
  }
  at('asleep').hidden = skill.live;
  at('asleep').textContent =
    `No worker that has it was seen lately. A run waits for one, up to ${duration(skill.queue_timeout * 1000)}.`;
  showCode();
  if (visit) {
    history.pushState(null, '', `/?${new URLSearchParams({ skill: id })}`);
    sheet.leave();
  }
}

function run() {
  if (at('run').disabled || !input.check() || !at('cap').reportValidity()) return;
  sheet.start(skills.chosen, input.text(), cap());
  // Where all is one column, what is read is further down.
  if (at('sheet').getBoundingClientRect().top > innerHeight / 3) at('sheet').scrollIntoView();
}

/** The most that a run may cost, as it was typed; '' where there is no limit. */
function cap() {
  return at('cap').value.trim();
}

/** Keep the address, and the rest of the page, at what is watched. */
function follow(watch) {
  if (watch.id !== null && readLink().execution !== watch.id) {
    history.pushState(null, '', `/?${new URLSearchParams({ execution: watch.id })}`);
  }
  if (watch.skill && skills.chosen !== watch.skill) choose(watch.skill);
  const refused =
    watch.status === 'refused' && ['invalid_input', 'bad_request', 'budget_exceeded'].includes(watch.error.code);
  if (refused) input.refuse(watch.error.message);
  if (watch.status === 'denied' && watch.id === null) askForKey(true);
}

/** Show what the address asks for. */
function visit() {
  const asked = readLink();
  if (asked.execution) {
    if (sheet.watch?.id !== asked.execution) sheet.join(asked.execution, asked.token);
  } else {
    sheet.leave();
    choose(asked.skill ?? skills.chosen ?? [...skills.found.keys()][0]);
  }
}

function askForKey(open) {
  at('key').hidden = !open;
  at('key-open').setAttribute('aria-expanded', String(open));
  at('key-forget').hidden = !api.key();
  if (open) at('key-text').focus();
}

/** Look at the registry. */
async function look() {
  try {
    const found = await api.skills();
    skills.show(found);
    at('away').hidden = true;
    if (wantsKey) askForKey(false);
    wantsKey = false;
    const asked = readLink();
    choose(skills.chosen ?? sheet.watch?.skill ?? asked.skill ?? found[0]?.id);
    if (asked.skill && !skills.found.has(asked.skill)) {
      at('away').textContent = `No worker has announced a skill “${asked.skill}” for a day.`;
      at('away').hidden = false;
    }
  } catch (error) {
    if (!(error instanceof api.ApiError)) throw error;
    at('run').disabled = true;
    if (error.status === 401 || error.status === 403) {
      skills.say(
        api.key()
          ? 'This key is not valid here.'
          : 'To see and run skills, enter an API key at the top.',
      );
      // Who came by a link needs none: nobody is interrupted.
      if (!wantsKey && !readLink().execution) askForKey(true);
      wantsKey = true;
    } else {
      at('away').textContent =
        `${error.message} It is asked again every ${LOOK_EVERY_MS / 1000} s.`;
      at('away').hidden = false;
    }
  }
}

async function lookOn() {
  for (;;) {
    await api.pause(LOOK_EVERY_MS);
    if (!document.hidden && !(wantsKey && !api.key())) await look();
  }
}

function showCode() {
  const text = input.text();
  if (skills.chosen === null || text === null || !at('code').open) return;
  const language = document.querySelector('input[name=language]:checked').value;
  const key = Boolean(api.key());
  const run = { skill: skills.chosen, input: text, cap: cap(), base: location.origin, key };
  at('snippet').textContent = snippet(language, run);
  at('snippet-copy').textContent = 'Copy';
}

at('start').addEventListener('submit', (event) => {
  event.preventDefault();
  run();
});
addEventListener('keydown', (event) => {
  if (event.key === 'Enter' && (event.ctrlKey || event.metaKey)) {
    event.preventDefault();
    run();
  }
});
at('run-hint').textContent = /mac|iphone|ipad/i.test(navigator.platform) ? '⌘ ↵' : 'Ctrl + Enter';

at('key-open').addEventListener('click', () => askForKey(at('key').hidden));
at('key').addEventListener('submit', (event) => {
  event.preventDefault();
  api.setKey(at('key-text').value.trim());
  at('key-text').value = '';
  wantsKey = false;
  askForKey(false);
  look().then(visit);
});
at('key-forget').addEventListener('click', () => {
  api.setKey('');
  askForKey(false);
  look();
});

at('code').addEventListener('toggle', showCode);
at('cap').addEventListener('input', showCode);
for (const language of document.querySelectorAll('input[name=language]')) {
  language.addEventListener('change', showCode);
}
at('snippet-copy').addEventListener('click', async () => {
  const copied = await copy(at('snippet').textContent);
  at('snippet-copy').textContent = copied ? 'Copied' : 'Select it and copy it by hand';
  if (!copied) getSelection().selectAllChildren(at('snippet'));
});

shareButton(document, () => sheet.watch);
addEventListener('popstate', visit);
addEventListener('hashchange', visit);

visit();
look().then(() => {
  if (!readLink().execution && sheet.watch === null) visit();
});
lookOn();
