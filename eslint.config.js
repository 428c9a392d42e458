import js from '@eslint/js';
import { defineConfig } from 'eslint/config';
import tseslint from 'typescript-eslint';

/** Who may call whom: each house and those it must not know. Arrows run downward only. */
const houses = [
  'core',
  'config',
  'archive',
  'files',
  'protocol',
  'scheduler',
  'drivers',
  'fleet',
  'runs',
  'store',
  'images',
  'katas',
  'rsync',
  'deploy',
  'http',
  'cli',
];
const allowed = {
  core: [],
  config: ['core'],
  archive: ['core'],
  files: ['core'],
  store: ['core', 'files'],
  protocol: ['core'],
  scheduler: ['core'],
  drivers: ['core', 'files', 'archive', 'protocol'],
  fleet: ['core', 'protocol', 'scheduler', 'drivers'],
  runs: ['core', 'protocol', 'scheduler', 'drivers', 'fleet'],
  images: ['core', 'files', 'drivers', 'fleet', 'runs'],
  katas: ['core', 'files'],
  rsync: ['core', 'files'],
  deploy: ['core', 'config', 'drivers', 'images'],
  http: ['core', 'fleet', 'runs'],
  cli: ['core', 'config', 'files', 'scheduler', 'drivers', 'fleet', 'runs', 'images', 'katas', 'deploy'],
};
const guards = houses.map((house) => ({
  files: [`src/${house}/**/*.ts`],
  rules: {
    'no-restricted-imports': [
      'error',
      {
        patterns: [
          {
            group: houses.filter((other) => other !== house && !allowed[house].includes(other)).map((other) => `**/${other}/**`),
            message: `${house} may not know this house: see docs/architecture.md`,
          },
          ...(house === 'cli' ? [] : [{ group: ['**/index.ts', '**/main.ts'], message: 'nobody knows what puts the parts together' }]),
        ],
      },
    ],
  },
}));

export default defineConfig(
  { ignores: ['dist', 'coverage', '.cache', 'images/supervisor/build'] },
  js.configs.recommended,
  {
    files: ['**/*.cjs'],
    languageOptions: {
      globals: { require: 'readonly', module: 'writable', process: 'readonly', setTimeout: 'readonly', clearTimeout: 'readonly' },
    },
  },
  {
    files: ['src/**/*.ts', 'test/**/*.ts'],
    extends: [tseslint.configs.strictTypeChecked],
    languageOptions: { parserOptions: { projectService: true, tsconfigRootDir: import.meta.dirname } },
    rules: {
      '@typescript-eslint/switch-exhaustiveness-check': ['error', { considerDefaultExhaustiveForUnions: true }],
      // TypeScript narrows fields across await, where another task may have changed them.
      '@typescript-eslint/no-unnecessary-condition': 'off',
      'no-control-regex': 'off',
      '@typescript-eslint/no-unsafe-class-instance-assignment': 'off',
      '@typescript-eslint/restrict-template-expressions': ['error', { allowNumber: true, allowBoolean: true }],
      '@typescript-eslint/no-confusing-void-expression': ['error', { ignoreArrowShorthand: true }],
      'no-restricted-syntax': [
        'error',
        {
          selector: "MemberExpression[object.name='AbortSignal'][property.name='any']",
          message: 'AbortSignal.any loses a timeout to the garbage collector and leaks: use src/core/deadline.ts (nodejs/node#57736)',
        },
      ],
      '@typescript-eslint/no-unused-vars': ['error', { argsIgnorePattern: '^_', varsIgnorePattern: '^_' }],
    },
  },
  { files: ['test/**/*.ts'], rules: { '@typescript-eslint/no-empty-function': 'off', '@typescript-eslint/require-await': 'off' } },
  ...guards,
);
