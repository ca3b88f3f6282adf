import EpochStore

/// The right to run the schedules of a store, which one process has at a time: an flock on a file beside what came of runs, so it
/// ends with the process.
public enum ScheduleLock {
  private static func path(_ store: String) -> String { store + "/schedule-runs.lock" }

  /// Held until the result goes away.
  ///
  /// - Throws: `runElsewhere`; `StoreError` when the file cannot be opened, also when there is no store.
  static func take(store: String) throws -> FolderLock {
    do { return try FolderLock(path: path(store), kind: .exclusive) } catch StoreError.locked(_, let pid) {
      throw ScheduleError.runElsewhere(pid: pid)
    }
  }

  /// The process that runs the schedules now; nil when none does, or it cannot be known.
  public static func holder(store: String) -> Int32? { LockHolder.of(path(store)) }
}
