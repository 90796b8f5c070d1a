"""The composition root: reads settings, builds adapters, hands them to the gate. The only importer of adapters."""
