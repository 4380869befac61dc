import react from '@vitejs/plugin-react';
import { defineConfig, loadEnv } from 'vite';

export default defineConfig(({ mode }) => {
  // Where an edge is: `make dev` starts one here.
  const { EDGE_URL = 'http://127.0.0.1:8080' } = loadEnv(mode, '.', 'EDGE_');
  const proxy = { '/api': EDGE_URL };
  return { plugins: [react()], server: { proxy }, preview: { proxy } };
});
