// Mocha's spec reporter, which also writes "PASSED FAILED SKIPPED" to the file named by --reporter-option totals=FILE.
// A process that is still there long after its last test is kept alive by something that a test left: that is a fault,
// and must not hold up what called it.
const { writeFileSync } = require('node:fs');
const { reporters } = require('mocha');

const patienceMs = 20_000;

module.exports = class extends reporters.Spec {
  constructor(runner, options) {
    super(runner, options);
    runner.once('end', () => {
      const { passes, failures, pending } = this.stats;
      writeFileSync(options.reporterOption.totals, `${passes} ${failures} ${pending}\n`);
      setTimeout(() => {
        process.stderr.write(`the tests are over and something keeps the process alive: ${process.getActiveResourcesInfo().join(', ')}\n`);
        process.exit(1);
      }, patienceMs).unref();
    });
  }
};
