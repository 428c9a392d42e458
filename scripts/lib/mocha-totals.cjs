// Mocha's spec reporter, which also writes to the file named by --reporter-option totals=FILE: "PASSED FAILED SKIPPED",
// then a line for each test that failed, with its whole title and what it threw.
// A process that is still there long after its last test is kept alive by something that a test left: that is a fault,
// and must not hold up what called it.
const { writeFileSync } = require('node:fs');
const { reporters } = require('mocha');

const patienceMs = 20_000;
const longestError = 2_000; // characters of what a test threw

function failureLine(test, err) {
  const text = (err && (err.stack || err.message)) || 'no error';
  return `${test.titlePath().join(' › ')}: ${text.slice(0, longestError).replaceAll(/\s*\n\s*/g, ' | ')}`;
}

module.exports = class extends reporters.Spec {
  constructor(runner, options) {
    super(runner, options);
    const failed = [];
    runner.on('fail', (test, err) => failed.push(failureLine(test, err)));
    runner.once('end', () => {
      const { passes, failures, pending } = this.stats;
      writeFileSync(options.reporterOption.totals, [`${passes} ${failures} ${pending}`, ...failed, ''].join('\n'));
      setTimeout(() => {
        process.stderr.write(`the tests are over and something keeps the process alive: ${process.getActiveResourcesInfo().join(', ')}\n`);
        process.exit(1);
      }, patienceMs).unref();
    });
  }
};
