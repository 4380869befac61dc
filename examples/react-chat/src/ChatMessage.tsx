import { useState, useEffect } from 'react';

function ChatMessage({ prompt }: { prompt: string }) {
  const [response, setResponse] = useState('');
  const [isStreaming, setIsStreaming] = useState(true);

  useEffect(() => {
    const eventSource = new EventSource(
      `/api/stream?prompt=${encodeURIComponent(prompt)}`
    );

    eventSource.onmessage = (event) => {
      const chunk = JSON.parse(event.data);
      setResponse(prev => prev + chunk.text);
    };

    eventSource.onerror = () => {
      setIsStreaming(false);
      eventSource.close();
    };

    return () => eventSource.close();
  }, [prompt]);

  return (
    <div className="message">
      {response}
      {isStreaming && <span className="cursor">▋</span>}
    </div>
  );
}

export { ChatMessage };
