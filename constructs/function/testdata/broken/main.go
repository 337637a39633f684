// Command broken does not compile.
package main

var number int = "text"

func main() {}
