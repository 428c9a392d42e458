import { config } from 'zod';

/**
 * Turns off zod's compiled parsers. zod compiles one for each object schema, which pays after some ten uses; a command that ends after
 * one run uses each schema once. Must be imported first, because a schema reads this setting when it is created.
 */
config({ jitless: true });
