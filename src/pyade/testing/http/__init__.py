"""What the fakes of Apple's services share: requests and answers, scripts, the log, a server, a transport."""
