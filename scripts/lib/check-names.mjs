// Fails when the sources declare a type name in two files, or when their imports make a circle.
// Usage: node scripts/lib/check-names.mjs [FOLDER], src if absent.
import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join, normalize } from 'node:path';
import process from 'node:process';
import ts from 'typescript';

const root = process.argv[2] ?? 'src';
const files = readdirSync(root, { recursive: true, encoding: 'utf8' })
  .filter((name) => name.endsWith('.ts'))
  .map((name) => join(root, name))
  .toSorted();
const parsed = new Map(files.map((file) => [file, ts.createSourceFile(file, readFileSync(file, 'utf8'), ts.ScriptTarget.Latest)]));

const faults = [...repeatedNames(parsed), ...circles(importsOf(parsed))];
for (const fault of faults) process.stderr.write(`${fault}\n`);
if (faults.length > 0) process.exitCode = 1;

/** The names of types, interfaces, classes and enums that more than one file declares at its top level, exported or not. */
function repeatedNames(sources) {
  const places = new Map();
  for (const [file, source] of sources) {
    for (const statement of source.statements) {
      const declares =
        ts.isTypeAliasDeclaration(statement) ||
        ts.isInterfaceDeclaration(statement) ||
        ts.isClassDeclaration(statement) ||
        ts.isEnumDeclaration(statement);
      if (!declares || !statement.name) continue;
      const name = statement.name.text;
      places.set(name, (places.get(name) ?? new Set()).add(file));
    }
  }
  return [...places]
    .filter(([, declaredIn]) => declaredIn.size > 1)
    .map(
      ([name, declaredIn]) => `the type name ${name} is declared in ${[...declaredIn].join(', ')}: give each its own name, or share one`,
    );
}

/** The files of the sources that each of them imports or exports from, for types too. */
function importsOf(sources) {
  const imports = new Map();
  for (const [file, source] of sources) {
    const found = new Set();
    const visit = (node) => {
      const from =
        ts.isImportDeclaration(node) || ts.isExportDeclaration(node)
          ? node.moduleSpecifier
          : ts.isCallExpression(node) && node.expression.kind === ts.SyntaxKind.ImportKeyword
            ? node.arguments[0]
            : ts.isImportTypeNode(node) && ts.isLiteralTypeNode(node.argument)
              ? node.argument.literal
              : undefined;
      if (from && ts.isStringLiteralLike(from) && from.text.startsWith('.')) {
        const target = normalize(join(dirname(file), from.text));
        if (sources.has(target)) found.add(target);
      }
      ts.forEachChild(node, visit);
    };
    visit(source);
    imports.set(file, [...found]);
  }
  return imports;
}

/** One circle for each import that leads back into the way that led to it: a walk in depth. */
function circles(imports) {
  const found = [];
  const way = [];
  const done = new Set();
  const walk = (file) => {
    const at = way.indexOf(file);
    if (at >= 0) {
      found.push(`these files import each other in a circle: ${[...way.slice(at), file].join(' -> ')}`);
      return;
    }
    if (done.has(file)) return;
    way.push(file);
    for (const target of imports.get(file) ?? []) walk(target);
    way.pop();
    done.add(file);
  };
  for (const file of imports.keys()) walk(file);
  return found;
}
