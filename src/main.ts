#!/usr/bin/env node
// Imported when it runs, so that a bundle keeps it two folders below the project's root: it finds package.json from there.
const { main } = await import('./cli/program.ts');

process.exitCode = await main(process.argv.slice(2));
