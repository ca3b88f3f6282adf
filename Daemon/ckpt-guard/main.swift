import Checkpoint
import Glibc

// The guard of one take; all of it is in `GuardDuty`.
exit(GuardDuty.run(CommandLine.arguments))
