package edge

var requestCases = []conformanceCase{}
