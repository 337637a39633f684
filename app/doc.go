// Package app is the domain of a multi-tenant media service: its types, its
// errors and the interfaces its adapters implement. It imports no adapter.
// The adapters stand in the folders below (postgres, objectstore, httpapi …)
// and know this package and not each other; package service wires them into the
// commands of one static binary, cmd/app: app serve | work | migrate | version.
package app
