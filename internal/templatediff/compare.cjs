// Answers how CloudFormation treats the changes between pairs of templates.
// Reads {"<stack>": {"from": template, "to": template}} on standard input.
const { createRequire } = require('module');
const fs = require('fs');

const library = '@aws-cdk/cloudformation-diff';
let entry;
try {
  entry = require.resolve(library);
} catch {
  console.error(`${library} is not installed in node_modules: run npm ci`);
  process.exit(1);
}
const { fullDiff } = require(entry);
// The database the library itself asks; npm may have put it below the library.
const { loadAwsServiceSpecSync } = createRequire(entry)('@aws-cdk/aws-service-spec');
const database = loadAwsServiceSpecSync();

const pairs = JSON.parse(fs.readFileSync(0, 'utf8'));
const answer = { stacks: {}, types: {} };
for (const [stack, { from, to }] of Object.entries(pairs)) {
  const resources = {};
  for (const [id, change] of Object.entries(fullDiff(from, to).resources.changes)) {
    const properties = {};
    for (const [name, p] of Object.entries(change.propertyUpdates)) {
      properties[name] = p.changeImpact;
    }
    resources[id] = { impact: change.changeImpact, properties };
    for (const type of [change.oldResourceType, change.newResourceType]) {
      if (type) answer.types[type] ??= facts(type);
    }
  }
  answer.stacks[stack] = resources;
}
process.stdout.write(JSON.stringify(answer));

// facts says whether a type holds data and where it holds permissions.
function facts(type) {
  const [model] = database.lookup('resource', 'cloudFormationType', 'equals', type);
  const permissions = {};
  for (const [name, p] of Object.entries(model?.properties ?? {})) {
    if (p.scrutinizable && p.scrutinizable !== 'None') permissions[name] = p.scrutinizable;
  }
  return { stateful: model?.isStateful ?? false, permission: model?.scrutinizable ?? 'None', permissions };
}
