// Package hidden has no page.
package hidden
