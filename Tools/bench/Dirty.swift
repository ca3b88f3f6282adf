import ArgumentParser
import Glibc
import Xen

/// Whether this hypervisor logs a guest's writes, and how many pages it logged: the lab's word on its two hypervisors.
struct Dirty: ParsableCommand {
  static let configuration = CommandConfiguration(abstract: "Log a guest's writes for a while and count the pages.")

  @Argument(help: "Name, id or uuid of the guest.") var guest: String
  @Option(help: "For how many seconds.") var seconds: UInt32 = 2

  func run() throws {
    let hypervisor = try Hypervisor()
    let store = try XenStore()
    let log = try LogDirty(hypervisor, store, hypervisor.find(guest, store: store))
    guard try log.begin() == .begun else { throw ValidationError("this hypervisor has no log for it, or it is on") }
    defer { log.end() }
    sleep(seconds)
    var pages = PageSet()
    print("dirty=\(try log.collect(into: &pages))")
  }
}
