import js from '@eslint/js';
import { defineConfig } from 'eslint/config';
import tseslint from 'typescript-eslint';

/** Who may call whom: each house and those it must not know. Arrows run downward only. */
const houses = [
  'base',
  'model',
  'config',
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
  'client',
  'app',
  'cli',
];
const allowed = {
  base: [],
  model: ['base'],
  config: ['base', 'model'],
  files: ['base', 'model'],
  store: ['base', 'model', 'files'],
  protocol: ['base', 'model'],
  scheduler: ['base', 'model'],
  drivers: ['base', 'model', 'files', 'protocol'],
  fleet: ['base', 'model', 'protocol', 'scheduler', 'drivers'],
  runs: ['base', 'model', 'protocol', 'scheduler', 'drivers', 'fleet'],
  images: ['base', 'model', 'files', 'drivers', 'fleet', 'runs'],
  katas: ['base', 'model', 'files'],
  rsync: ['base', 'model', 'files'],
  deploy: ['base', 'model', 'config', 'drivers', 'images'],
  http: ['base', 'model', 'fleet', 'runs'],
  client: ['base', 'model'],
  app: houses.filter((house) => house !== 'cli'),
  cli: houses.filter((house) => !['protocol', 'store', 'rsync', 'http'].includes(house)),
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
          { group: ['**/main.ts'], message: 'nobody knows the process' },
        ],
      },
    ],
  },
}));

const signalAny = {
  selector: "MemberExpression[object.name='AbortSignal'][property.name='any']",
  message: 'AbortSignal.any loses a timeout to the garbage collector and leaks: use src/base/deadline.ts (nodejs/node#57736)',
};
const ownPlace = {
  selector: "MetaProperty[meta.name='import'][property.name='meta']",
  message:
    'the bundle joins modules of many folders in one file, so that a path from import.meta is another one there: use inPackage() of src/base/package-folder.ts',
};
/** Both load the tables of ICU, which takes some 10 ms of each start of the command line. */
const icu = ['Identifier[name="Intl"]', 'MemberExpression[property.name="toLocaleString"]'].map((selector) => ({
  selector,
  message: 'Intl and toLocaleString load ICU, which every command would wait for: write the text without them',
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
      'no-restricted-syntax': ['error', signalAny],
      '@typescript-eslint/no-unused-vars': ['error', { argsIgnorePattern: '^_', varsIgnorePattern: '^_' }],
    },
  },
  {
    files: ['src/**/*.ts'],
    ignores: ['src/base/package-folder.ts'],
    rules: { 'no-restricted-syntax': ['error', signalAny, ownPlace, ...icu] },
  },
  { files: ['test/**/*.ts'], rules: { '@typescript-eslint/no-empty-function': 'off', '@typescript-eslint/require-await': 'off' } },
  ...guards,
);
