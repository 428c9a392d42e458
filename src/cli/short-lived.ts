import { config } from 'zod';

/**
 * zod makes a parser of its own for each schema of an object and has it compiled, which pays from some ten uses on; a command that
 * ends after one run uses each once. To be imported before all else: a schema heeds it as it is made.
 */
config({ jitless: true });
