import MigrationStream
import Testing

/// The order that plain restore demands. Reader and writer hold the same rules: every case goes through both.
struct OrderTests {
  enum Step: Sendable {
    case record(RecordBody)
    case page(UInt64)
    case end
  }

  struct Case: CustomTestStringConvertible, Sendable {
    let testDescription: String
    let kind: DomainKind
    /// All but the last are in order.
    let steps: [Step]
    let fault: StreamFault
  }

  static let pvStatic: [Step] = [.record(.pvInfo(width: 8, levels: 4)), .record(.staticDataEnd)]
  static let p2m = Step.record(.pvP2MFrames(start: 0, end: 511, pfns: [3]))
  static let tsc = Step.record(.tscInfo(TSCInfo(mode: 0, kilohertz: 1, nanoseconds: 0, incarnation: 0)))
  static let shared = Step.record(.sharedInfo([UInt8](repeating: 0, count: 4096)))
  static let vcpu0 = Step.record(.pvVCPU(.basic, id: 0, blob: [UInt8](repeating: 0, count: 5168)))
  static let context = Step.record(.hvmContext([1]))
  static let params = Step.record(.hvmParams([HVMParam(index: 1, value: 2)]))
  static let policy = Step.record(.cpuidPolicy([UInt8](repeating: 0, count: 24)))
  static let pvMemory = pvStatic + [p2m, .page(5)]
  static let hvmMemory: [Step] = [.record(.staticDataEnd), .page(5)]

  static func pv(_ name: String, _ steps: [Step], _ fault: StreamFault) -> Case {
    Case(testDescription: name, kind: .pv, steps: steps, fault: fault)
  }
  static func hvm(_ name: String, _ steps: [Step], _ fault: StreamFault) -> Case {
    Case(testDescription: name, kind: .hvm, steps: steps, fault: fault)
  }

  @Test("The clock may come before memory, as in what was saved by Xen before 4.6", arguments: [DomainKind.pv, .hvm])
  func earlyClock(kind: DomainKind) throws {
    let end: [Step] = kind == .pv ? [Self.shared, Self.vcpu0, .end] : [Self.context, Self.params, .end]
    let head = kind == .pv ? Self.pvStatic + [Self.p2m] : [Self.hvmMemory[0]]
    var writer = StreamWriter(MemorySink())
    try writer.beginLibxc(kind: kind, xenMajor: 4, xenMinor: 17)
    var raw = RawStream.libxc(kind.rawValue)
    for step in head + [Self.tsc, .page(5), .page(6)] + end {
      try write(step, to: &writer)
      append(step, to: &raw)
    }
    #expect(raw.bytes == writer.sink.bytes)
    var reader = StreamReader(MemorySource(raw.bytes), startingAt: .libxc)
    while try reader.next() != nil {}
  }

  @Test(arguments: [
    pv(
      "static end without PV info", [.record(.staticDataEnd)],
      .missingBefore(record: .staticDataEnd, needs: .x86PVInfo)),
    pv("PV info twice", [pvStatic[0], pvStatic[0]], .repeated(.x86PVInfo)),
    pv("PV info late", [policy, pvStatic[0], pvStatic[1], pvStatic[0]], .repeated(.x86PVInfo)),
    pv("static end twice", pvStatic + [pvStatic[1]], .repeated(.staticDataEnd)),
    pv(
      "p2m before static end", [pvStatic[0], p2m],
      .missingBefore(record: .x86PVP2MFrames, needs: .staticDataEnd)),
    pv(
      "memory before the p2m", pvStatic + [.page(5)],
      .missingBefore(record: .pageData, needs: .x86PVP2MFrames)),
    pv("pfn outside the p2m", pvStatic + [p2m, .page(512)], .pfnRange(512)),
    pv(
      "memory after a vCPU", pvMemory + [vcpu0, .page(6)], .tooLate(record: .pageData, after: .x86PVVCPUBasic)
    ),
    pv(
      "p2m after the shared info", pvMemory + [shared, p2m],
      .tooLate(record: .x86PVP2MFrames, after: .sharedInfo)),
    pv("a vCPU twice", pvMemory + [vcpu0, vcpu0], .repeated(.x86PVVCPUBasic)),
    pv("HVM record", pvMemory + [context], .wrongDomainKind(.hvmContext)),
    pv("no memory", pvStatic + [p2m, tsc, shared, vcpu0, .end], .missingAtEnd(.pageData)),
    pv("no shared info", pvMemory + [tsc, vcpu0, .end], .missingAtEnd(.sharedInfo)),
    pv(
      "no vCPU 0",
      pvMemory + [
        tsc, shared, .record(.pvVCPU(.basic, id: 1, blob: [UInt8](repeating: 0, count: 5168))), .end,
      ], .missingAtEnd(.x86PVVCPUBasic)),
    pv("nothing at all", [.end], .missingAtEnd(.x86PVInfo)),
    hvm("memory before static end", [.page(5)], .missingBefore(record: .pageData, needs: .staticDataEnd)),
    hvm(
      "policy after static end", [hvmMemory[0], policy],
      .tooLate(record: .x86CPUIDPolicy, after: .staticDataEnd)),
    hvm("policy twice", [policy, policy], .repeated(.x86CPUIDPolicy)),
    hvm("context before static end", [context], .missingBefore(record: .hvmContext, needs: .staticDataEnd)),
    hvm(
      "memory after the params that clear it", hvmMemory + [params, .page(6)],
      .tooLate(record: .pageData, after: .hvmParams)),
    hvm("PV record", hvmMemory + [shared], .wrongDomainKind(.sharedInfo)),
    hvm("clock twice", hvmMemory + [tsc, tsc], .repeated(.x86TSCInfo)),
    hvm("no clock", hvmMemory + [context, params, .end], .missingAtEnd(.x86TSCInfo)),
    hvm("no context", hvmMemory + [tsc, params, .end], .missingAtEnd(.hvmContext)),
    hvm("no params", hvmMemory + [tsc, context, .end], .missingAtEnd(.hvmParams)),
  ])
  func wrongOrderIsRefusedByBoth(test: Case) throws {
    var writer = StreamWriter(MemorySink())
    try writer.beginLibxc(kind: test.kind, xenMajor: 4, xenMinor: 17)
    var raw = RawStream.libxc(test.kind.rawValue)
    for step in test.steps.dropLast() {
      try write(step, to: &writer)
      append(step, to: &raw)
    }
    #expect(raw.bytes == writer.sink.bytes)
    let last = try #require(test.steps.last)

    var refusal: StreamError?
    do throws(StreamError) { try write(last, to: &writer) } catch { refusal = error }
    #expect(refusal == .refused(test.fault))
    #expect(writer.sink.bytes == raw.bytes, "something was written before the refusal")

    let offset = UInt64(raw.bytes.count)
    append(last, to: &raw)
    #expect(throws: StreamError.malformed(test.fault, offset: offset)) { try readAll(raw.bytes) }
  }

  @Test func p2mMayGrowBetweenBatches() throws {
    var writer = StreamWriter(MemorySink())
    try writer.beginLibxc(kind: .pv, xenMajor: 4, xenMinor: 17)
    let grown = Step.record(.pvP2MFrames(start: 512, end: 1023, pfns: [700]))
    for step in Self.pvMemory + [grown, .page(1023), Self.tsc, Self.shared, Self.vcpu0, .end] {
      try write(step, to: &writer)
    }
    #expect(try readAll(writer.sink.bytes).count == 11)
  }

  @Test func layersInTheWrongPlaceAreRefused() throws {
    var writer = StreamWriter(MemorySink())
    #expect(refusal(&writer) { w throws(StreamError) in try w.endLibxl() } != nil)
    #expect(refusal(&writer) { w throws(StreamError) in try w.write(.staticDataEnd) } != nil)
    try writer.beginLibxl()
    #expect(
      refusal(&writer) { w throws(StreamError) in try w.writeXLHeader(configJSON: [0x7B, 0x7D]) } != nil)
    #expect(refusal(&writer) { w throws(StreamError) in try w.beginLibxl() } != nil)
    try writer.beginLibxc(kind: .pv, xenMajor: 4, xenMinor: 17)
    #expect(
      refusal(&writer) { w throws(StreamError) in try w.beginLibxc(kind: .pv, xenMajor: 4, xenMinor: 17) }
        != nil)
    #expect(refusal(&writer) { w throws(StreamError) in try w.endLibxl() } != nil)
    for step in Self.pvMemory + [Self.tsc, Self.shared, Self.vcpu0, .end] { try write(step, to: &writer) }
    let size = writer.sink.bytes.count
    #expect(
      refusal(&writer) { w throws(StreamError) in try w.write(.context([1])) }
        == .refused(.outOfPlace("emulator state of a PV guest")))
    #expect(refusal(&writer) { w throws(StreamError) in try w.endLibxc() } != nil)
    #expect(writer.sink.bytes.count == size)
    try writer.endLibxl()
    #expect(refusal(&writer) { w throws(StreamError) in try w.endLibxl() } != nil)
  }

  @Test func badArgumentsOfTheWriterAreRefused() throws {
    var writer = StreamWriter(MemorySink())
    for config: [UInt8] in [[], [0x7B, 0, 0x7D]] {
      #expect(
        refusal(&writer) { w throws(StreamError) in try w.writeXLHeader(configJSON: config) }
          == .refused(.xlConfigLength(UInt32(config.count))))
    }
    try writer.beginLibxc(kind: .hvm, xenMajor: 4, xenMinor: 17)
    try writer.write(.staticDataEnd)
    let tooMany = [PageEntry](repeating: PageEntry(pfn: 0, type: .invalid), count: 1025)
    #expect(
      refusal(&writer) { w throws(StreamError) in try w.writeSample(tooMany) } == .refused(.pageCount(1025)))
    #expect(refusal(&writer) { w throws(StreamError) in try w.writeSample([]) } == .refused(.pageCount(0)))
    #expect(
      refusal(&writer) { w throws(StreamError) in try w.writeSample([PageEntry(pfn: .max, type: .invalid)]) }
        == .refused(.pfnRange(1 << 52 - 1)))
    #expect(
      refusal(&writer) { w throws(StreamError) in
        try w.writePageData(
          [PageEntry(pfn: 0, type: .normal)], pages: UnsafeRawBufferPointer(start: nil, count: 0))
      } == .refused(.pageBytes(expected: 4096, got: 0)))
    #expect(
      refusal(&writer) { w throws(StreamError) in
        try w.write(Record(type: .init(rawValue: 0x8000_0001), body: []))
      }
        == .refused(.unknownRecord(0x8000_0001)))
    #expect(
      refusal(&writer) { w throws(StreamError) in try w.write(Record(type: .pageData, body: onePage(1))) }
        == .refused(.unknownRecord(1)))
  }

  private func refusal(
    _ writer: inout StreamWriter<MemorySink>,
    _ body: (inout StreamWriter<MemorySink>) throws(StreamError) -> Void
  ) -> StreamError? {
    do throws(StreamError) {
      try body(&writer)
      return nil
    } catch { return error }
  }

  private func write(_ step: Step, to writer: inout StreamWriter<MemorySink>) throws(StreamError) {
    switch step {
    case .record(let body): try writer.write(body)
    case .page(let pfn): try writer.writeSample([PageEntry(pfn: pfn, type: .normal)])
    case .end: try writer.endLibxc()
    }
  }

  private func append(_ step: Step, to raw: inout RawStream) {
    switch step {
    case .record(let body):
      let record = Record(body)
      raw.record(record.type.rawValue, record.body)
    case .page(let pfn): raw.record(1, onePage(pfn))
    case .end: raw.record(0)
    }
  }
}
