import Synchronization

/// A value that costs much to compute: by one thread at a time, and not again before it has grown old. Any thread.
final class Recent<Value: Sendable>: Sendable {
  private struct Known {
    let value: Value
    let drops: Int
    let time: ContinuousClock.Instant
  }

  private let age: Duration
  private let now: @Sendable () -> ContinuousClock.Instant
  private let compute: @Sendable () throws -> Value
  private let known = Mutex<Known?>(nil)
  private let drops = Atomic<Int>(0)

  /// - Parameter age: for how long a value may be given out once it was computed.
  init(
    age: Duration, now: @escaping @Sendable () -> ContinuousClock.Instant = { .now },
    compute: @escaping @Sendable () throws -> Value
  ) {
    (self.age, self.now, self.compute) = (age, now, compute)
  }

  /// Whoever comes while it is computed waits, and gets the same.
  func get() throws -> Value {
    try known.withLock { known in
      let drops = self.drops.load(ordering: .sequentiallyConsistent)
      if let known, known.drops == drops, now() - known.time < age { return known.value }
      let value = try compute()
      known = Known(value: value, drops: drops, time: now())
      return value
    }
  }

  /// What was computed, or is being computed, is true no more. Waits for nobody.
  func drop() { drops.wrappingAdd(1, ordering: .sequentiallyConsistent) }
}
