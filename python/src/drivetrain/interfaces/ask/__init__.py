"""`drivetrain ask`: a sentence in English or Korean becomes one command, by a grammar and never by a guess."""
