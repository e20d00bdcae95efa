/** What only Node.js has. */

export * from './index.js';
export { DirectoryStore } from './stores/directory.js';
