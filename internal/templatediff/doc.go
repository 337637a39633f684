// Package templatediff says in words what a change does to synthesized
// CloudFormation templates: what is added, changed in place, replaced or
// removed, and first of all which data are lost.
//
// Whether a changed property replaces its resource is AWS's own answer: the npm
// package @aws-cdk/cloudformation-diff, pinned in package.json, run by Node.js.
// Everything else, the words included, is made here.
package templatediff
