// Mocha's spec reporter, which also writes "PASSED FAILED SKIPPED" to the file named by --reporter-option totals=FILE.
const { writeFileSync } = require('node:fs');
const { reporters } = require('mocha');

module.exports = class extends reporters.Spec {
  constructor(runner, options) {
    super(runner, options);
    runner.once('end', () => {
      const { passes, failures, pending } = this.stats;
      writeFileSync(options.reporterOption.totals, `${passes} ${failures} ${pending}\n`);
    });
  }
};
