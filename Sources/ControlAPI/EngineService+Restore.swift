import Checkpoint
import EpochStore

extension EngineService {
  public func restore(_ request: RestoreRequest, _ call: Call) throws -> RestoreAnswer {
    if let name = request.clone { return try clone(request, as: name, call) }
    let restore = try engine.restore(request.guest, epoch: request.epoch, options: request.options) {
      call.report(.step($0))
    }
    try restore.prepare(call.cancellation)
    let (plan, uuid) = (restore.plan, restore.manifest.uuid)
    func answer(_ outcome: Restore.Outcome?) -> RestoreAnswer {
      var told = plan
      told.warnings += restore.notes
      return RestoreAnswer(
        guest: plan.guest, uuid: uuid, epoch: plan.epoch, domain: outcome?.domain, safetyEpoch: restore.safetyEpoch,
        steps: outcome?.told ?? [], plan: told, dryRun: outcome == nil)
    }
    if request.dryRun == true { return answer(nil) }
    if request.yes != true { try call.confirm(plan) }
    try call.mayGoOn()
    let outcome = Result { try perform(restore, call) }
    // That a guest stands suspended outranks why.
    try restore.letGo()
    return answer(try outcome.get())
  }

  private func perform(_ restore: Restore, _ call: Call) throws -> Restore.Outcome {
    if restore.plan.takesSafetyEpoch { try takeSafetyEpoch(before: restore, call) }
    // Xen keeps a destroyed domain, and libxl its backends, for as long as its memory is mapped.
    memories?.forget(restore.manifest.uuid)
    call.begins()
    return try restore.perform()
  }

  public func undo(_ request: UndoRequest, _ call: Call) throws -> RestoreAnswer {
    try restore(request.restore(of: engine.undoEpoch(request.guest)), call)
  }

  private func takeSafetyEpoch(before restore: Restore, _ call: Call) throws {
    call.report(.step(RestoreAnswer.safetyStep))
    let attendance = TakeAttendance(self, call)
    defer { attendance.end() }
    let manifest = try engine.takeSafetyEpoch(
      before: restore, options: attendance.options, memory: attendance.memory, cancellation: call.cancellation,
      report: attendance.report)
    if let manifest { observer?.observe(manifest) }
    // Told to stop in that take's pause, it went on to its end; nothing is destroyed after it.
    if call.cancellation.isWanted { throw CheckpointError.interrupted }
  }

  private func clone(_ request: RestoreRequest, as name: String, _ call: Call) throws -> RestoreAnswer {
    let clone = try engine.clone(
      request.guest, epoch: request.epoch, as: name, options: request.options, isPerformed: request.dryRun != true
    ) {
      call.report(.step($0))
    }
    try clone.prepare()
    try call.mayGoOn()
    let plan = clone.plan
    if request.dryRun != true { call.begins() }
    let outcome = request.dryRun == true ? nil : try clone.perform()
    return RestoreAnswer(
      guest: name, uuid: clone.uuid, epoch: plan.epoch, domain: outcome?.domain, steps: outcome?.told ?? [],
      plan: plan, dryRun: outcome == nil)
  }
}

extension RestoreAnswer {
  /// The step in which the guest as it is now is taken; what follows of phases is that take's.
  public static let safetyStep = "safety epoch"
}

extension Restore.Outcome {
  fileprivate var told: [RestoreAnswer.Step] { steps.map { .init(name: $0.name, ms: $0.milliseconds) } }
}
