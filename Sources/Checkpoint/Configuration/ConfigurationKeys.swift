import EpochStore

extension Configuration {
  /// Why the program that a line names cannot be run now; nil when it can, or the line names none, or cannot be understood.
  static func programFault(_ entry: Entry, _ path: String) -> Fault? {
    var scratch = TakeOptions()
    do {
      try apply(entry, to: &scratch, path)
      for program in scratch.programs { try program.check() }
    } catch let error as HookError {
      return ConfigurationValue(entry, path).fault("\(entry.key): \(error)")
    } catch {}
    return nil
  }

  /// Puts one line's value where it belongs.
  ///
  /// - Throws: ``Fault`` for a key that is not known, and for a value that the key does not take.
  static func apply(_ entry: Entry, to options: inout TakeOptions, _ path: String) throws(Fault) {
    let value = ConfigurationValue(entry, path)
    switch entry.key {
    case "tracking": options.tracking = try value.choice(TrackingPolicy.self)
    case "staging": options.stagingBytes = Int(try value.bytes())
    case "staging-full": options.staging = try value.choice(StagingPolicy.self)
    case "precopy-small": options.precopy.smallPages = Int(try value.number(0...1e9, "pages"))
    case "precopy-shrink": options.precopy.shrink = try value.number(0...1, "a share")
    case "precopy-rounds": options.precopy.mostRounds = Int(try value.number(0...1000, "a number"))
    case "precopy-seconds": options.precopy.mostSeconds = try value.number(0...86400, "seconds")
    case "max-pause": options.mostPauseSeconds = try value.number(0.001...3600, "seconds")
    case "takes-at-once": options.takesAtOnce = Int(try value.ofStore().number(1...1000, "a number of guests"))
    case "limit-rate": options.bytesPerSecond = Int(try value.bytes())
    case "quota": options.space.quota = try value.bytes()
    case "store-quota": options.space.storeQuota = try value.ofStore().bytes()
    case "host-reserve": options.space.hostReserve = try value.ofStore().bytes()
    case "pool-watermark": options.space.poolWatermark = Int(try value.number(1...100, "per cent"))
    case "keep-last": options.retention.last = try value.count()
    case "keep-minutely": options.retention.minutely = try value.count()
    case "keep-hourly": options.retention.hourly = try value.count()
    case "keep-daily": options.retention.daily = try value.count()
    case "keep-weekly": options.retention.weekly = try value.count()
    case "keep-monthly": options.retention.monthly = try value.count()
    case "keep-yearly": options.retention.yearly = try value.count()
    case "keep-within": options.retention.within = try value.span()
    case "keep-tag": options.retention.tags = try value.tags()
    case "hook-before": options.hooks.before = try value.program()
    case "hook-pause": options.hooks.pause = try value.program()
    case "hook-after": options.hooks.after = try value.program()
    case "hook-failed": options.hooks.failed = try value.program()
    case "notify-command": options.notify = try value.program()
    case "hook-timeout": options.hooks.seconds = try value.number(0.1...3600, "seconds")
    case "hook-pause-deadline": options.hooks.pauseSeconds = try value.number(0.001...10, "seconds")
    default: throw value.fault("unknown key '\(entry.key)'; known: \(keys.joined(separator: ", "))")
    }
  }

  static let keys = [
    "tracking", "staging", "staging-full", "precopy-small", "precopy-shrink", "precopy-rounds", "precopy-seconds",
    "max-pause", "takes-at-once", "limit-rate", "quota", "store-quota", "host-reserve", "pool-watermark", "keep-last",
    "keep-minutely",
    "keep-hourly", "keep-daily", "keep-weekly", "keep-monthly", "keep-yearly", "keep-within", "keep-tag", "hook-before",
    "hook-pause", "hook-after", "hook-failed", "hook-timeout",
    "hook-pause-deadline", "notify-command",
  ]
}

/// The value of one line, read as what its key takes.
struct ConfigurationValue {
  private let entry: Configuration.Entry
  private let path: String

  init(_ entry: Configuration.Entry, _ path: String) { (self.entry, self.path) = (entry, path) }

  func fault(_ what: String) -> Configuration.Fault { .init(path: path, line: entry.line, what: what) }

  private func bad(_ wanted: String) -> Configuration.Fault {
    fault("\(entry.key) = \(entry.value): want \(wanted)")
  }

  func number(_ range: ClosedRange<Double>, _ unit: String) throws(Configuration.Fault) -> Double {
    guard let value = Double(entry.value), range.contains(value) else {
      throw bad("\(unit), \(range.lowerBound) to \(range.upperBound)")
    }
    return value
  }

  func choice<Choice: RawRepresentable & CaseIterable>(_: Choice.Type) throws(Configuration.Fault) -> Choice
  where Choice.RawValue == String {
    guard let value = Choice(rawValue: entry.value) else {
      throw bad(Choice.allCases.map(\.rawValue).joined(separator: ", "))
    }
    return value
  }

  func bytes() throws(Configuration.Fault) -> UInt64 {
    guard let value = ByteCount.parse(entry.value), value >= 1 << 20 else {
      throw bad("a size from 1M, like 64M or 1G")
    }
    return value
  }

  func count() throws(Configuration.Fault) -> Int { Int(try number(0...1e6, "a number of epochs")) }

  func span() throws(Configuration.Fault) -> RetentionSpan {
    guard let span = RetentionSpan(entry.value) else {
      throw bad("a length of time, like 2d12h (units: y m w d h min), 100000y at most")
    }
    return span
  }

  /// Words with blanks between them.
  func tags() throws(Configuration.Fault) -> Set<String> {
    let words = entry.value.split(whereSeparator: \.isWhitespace).map(String.init)
    guard !words.isEmpty, (try? EpochMarks(tags: words)) != nil else { throw bad("tags, blanks between them") }
    return Set(words)
  }

  /// - Throws: for a guest's own section: the key is about the store that all guests share.
  func ofStore() throws(Configuration.Fault) -> ConfigurationValue {
    guard entry.guest == nil else {
      throw fault("\(entry.key) is for the whole store; write it above all [guest] sections")
    }
    return self
  }

  /// `none` takes back what the general part says. The file itself is looked at when it is run: a hook that is gone must not be left out
  /// in silence.
  func program() throws(Configuration.Fault) -> HookProgram? {
    if entry.value == "none" { return nil }
    let program = HookProgram(unchecked: entry.value)
    do throws(HookError) { try program.checkPath() } catch { throw fault("\(entry.key): \(error)") }
    return program
  }
}
