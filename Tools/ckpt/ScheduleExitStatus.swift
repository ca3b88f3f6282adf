public import Checkpoint
public import Scheduling

extension ScheduleError: ErrorWithStatus {
  public var exitStatus: ExitStatus {
    if case .noSchedule = self { .notFound } else { .badConfiguration }
  }
}
