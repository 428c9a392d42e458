// Mocha's spec reporter, which also writes to the file named by --reporter-option totals=FILE: "PASSED FAILED SKIPPED",
// then a line for each test that failed: its file, a tab, its whole title and what it threw. FILE.files has a line for each
// file in which a test failed: "PASSED FAILED SKIPPED PATH", the numbers being that file's own.
// A suite may take as long as it needs, but no test or hook may last longer than any is allowed to: then the process
// ends; --reporter-option silence=MS sets how long. So does one that is still there long after its last test, kept alive
// by something that a test left.
const { writeFileSync } = require('node:fs');
const { reporters } = require('mocha');

const longestSilenceMs = 600_000; // twice the longest time limit of a test
const patienceMs = 20_000;
const longestError = 2_000; // characters of what a test threw

const failureLine = (file, title, text) => `${file}\t${title}: ${text.slice(0, longestError)}`.replaceAll(/\s*\n\s*/g, ' | ');

module.exports = class extends reporters.Spec {
  constructor(runner, options) {
    super(runner, options);
    const failed = [];
    const files = new Map();
    const count = (which) => (test) => {
      if (test.file === undefined) return;
      const before = files.get(test.file) ?? { passed: 0, failed: 0, skipped: 0 };
      files.set(test.file, { ...before, [which]: before[which] + 1 });
    };
    runner.on('pass', count('passed'));
    runner.on('fail', count('failed'));
    runner.on('pending', count('skipped'));
    const silenceMs = Number(options.reporterOption.silence ?? longestSilenceMs);
    const write = (failures) => {
      const { passes, pending } = this.stats;
      writeFileSync(options.reporterOption.totals, [`${passes} ${failures} ${pending}`, ...failed, ''].join('\n'));
      const failing = [...files].filter(([, { failed: some }]) => some > 0);
      const lines = failing.map(([file, of]) => `${of.passed} ${of.failed} ${of.skipped} ${file}\n`);
      writeFileSync(`${options.reporterOption.totals}.files`, lines.join(''));
    };
    runner.on('fail', (test, error) =>
      failed.push(failureLine(test.file ?? '', test.titlePath().join(' › '), error?.stack || error?.message || 'no error')),
    );

    let last = 'the first test';
    const silence = setTimeout(() => {
      const why = `no test has ended for ${silenceMs / 60_000} minutes since ${last}`;
      process.stderr.write(`${why}\n`);
      failed.push(failureLine('', 'silence', why));
      write(this.stats.failures + 1);
      process.exit(1);
    }, silenceMs).unref();
    for (const event of ['test end', 'hook end'])
      runner.on(event, (ended) => {
        last = ended.fullTitle();
        silence.refresh();
      });

    runner.once('end', () => {
      clearTimeout(silence);
      write(this.stats.failures);
      setTimeout(() => {
        process.stderr.write(`the tests are over and something keeps the process alive: ${process.getActiveResourcesInfo().join(', ')}\n`);
        process.exit(1);
      }, patienceMs).unref();
    });
  }
};
