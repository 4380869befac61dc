import { type FormEvent, useEffect, useRef, useState } from 'react';
import { ChatMessage } from './ChatMessage';

/** A prompt box, and what was asked and answered so far. */
export function Chat() {
  const [prompts, setPrompts] = useState<string[]>([]);
  const [draft, setDraft] = useState('');
  const end = useRef<HTMLDivElement>(null);

  useEffect(() => {
    if (prompts.length > 0) {
      end.current?.scrollIntoView({ block: 'end' });
    }
  }, [prompts]);

  const ask = (event: FormEvent) => {
    event.preventDefault();
    const prompt = draft.trim();
    if (prompt !== '') {
      setPrompts((asked) => [...asked, prompt]);
      setDraft('');
    }
  };

  return (
    <>
      <main aria-live="polite">
        {prompts.length === 0 && <p className="hint">Ask for a haiku, say.</p>}
        {/* Prompts are only ever added, so that their places can be their keys. */}
        {prompts.map((prompt, place) => (
          <section key={place}>
            <p className="prompt">{prompt}</p>
            <ChatMessage prompt={prompt} />
          </section>
        ))}
        <div ref={end} />
      </main>
      <form onSubmit={ask}>
        <input
          aria-label="Prompt"
          autoComplete="off"
          autoFocus
          onChange={(event) => setDraft(event.target.value)}
          placeholder="Write a haiku about AI"
          value={draft}
        />
        <button type="submit" disabled={draft.trim() === ''}>
          Ask
        </button>
      </form>
    </>
  );
}
