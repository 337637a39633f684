module example.com/made
