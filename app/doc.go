// Package app is the domain of a multi-tenant media service: its types, its
// errors and the interfaces its adapters implement. It imports no adapter.
// The adapters stand in the folders below (postgres, objectstore, httpapi …)
// and know this package and not each other; cmd/app wires them into one
// static binary: app serve | work | migrate | version.
package app
