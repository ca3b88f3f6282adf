extension HostFacts {
  /// What the store has of schedules.
  public struct Schedules: Sendable {
    /// The guests that have one, by name or uuid.
    public var guests: [String] = []
    /// Why the file of schedules cannot be used.
    public var problem: String?
    /// Why the last pruning by a guest's schedule failed, by guest.
    public var pruneProblems: [String: String] = [:]

    public init() {}
  }

  var scheduleFindings: [Finding] {
    guard isRoot else { return [] }
    let broken = schedules.problem.map { [Finding(.problem, .schedules, told: $0)] } ?? []
    let faults = broken + pruneFindings + forNobody
    guard faults.isEmpty, !schedules.guests.isEmpty else { return faults }
    return [Finding(.ok, .schedules, "of \(schedules.guests.joined(separator: ", "))")]
  }

  private var pruneFindings: [Finding] {
    schedules.pruneProblems.sorted { $0.key < $1.key }.map { guest, problem in
      Finding(
        .warning, .schedules, of: guest, "\(guest): the last pruning by its schedule failed: \(problem)",
        fix: "mend that; the guest's next take by schedule prunes again")
    }
  }

  private var forNobody: [Finding] {
    let uuids = Set(status.guests.map(\.uuid))
    return unborne(schedules.guests).filter { !uuids.contains($0.lowercased()) }.map { guest in
      Finding(
        .warning, .schedules, of: guest,
        "there is a schedule for '\(guest)', and no guest of that name, neither running nor in the store",
        fix: "start the guest; if it was renamed: ckpt schedule set NAME …, and ckpt schedule remove \(guest)")
    }
  }

  /// Sections of the configuration that hold for nobody.
  var sectionFindings: [Finding] {
    unborne(sections).map { name in
      Finding(
        .warning, .config, of: configuration,
        "[guest \(name)] holds for nobody: no guest has that name, neither running nor in the store",
        fix: "give the section the guest's name, as `xl list` shows it, or remove it: edit \(configuration ?? "it")")
    }
  }

  /// Those of the names that no guest bears. None where Xen does not say which guests run.
  private func unborne(_ names: [String]) -> [String] {
    guard status.xen != nil else { return [] }
    let borne = Set(status.guests.map(\.name) + guests.map(\.name))
    return names.filter { !borne.contains($0) }
  }
}
