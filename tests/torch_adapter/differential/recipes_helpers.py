"""Expressions for the public helpers of peft and accelerate."""

from __future__ import annotations

_SETTINGS = {
    **dict.fromkeys(
        [
            "BOFT",
            "Beft",
            "Deft",
            "Delora",
            "Frod",
            "Glora",
            "Gralora",
            "HRA",
            "Hira",
            "Lily",
            "LoHa",
            "LoKr",
            "Lora",
            "OFT",
            "OSF",
            "Peanut",
            "Pvera",
        ],
        "",
    ),
    **dict.fromkeys(["RandLora", "Supertuning", "TinyLora", "UniLora", "Vera"], ""),
    "AdaLora": ", total_step=10",
    "C3A": ", block_size=8",
    "FourierFT": ", n_frequency=20",
    "IA3": ", feedforward_modules=[]",
    "Miss": ", r=4",
    "Psoft": ", r=4",
    "Road": ", group_size=4",
    "Shira": ", r=4",
    "VBLoRA": ", vector_length=8, num_vectors=16",
    "WaveFT": ", n_frequency=20",
    "TrainableTokens": ", token_indices=[1, 2]",
}
"""Kinds of adapters that take any model, with what they need for a layer of 24 x 40."""
_WRITES = ("init_lora_weights='pissa", "init_lora_weights='olora'")
"""Initialisers that write into the weight, which a merge that is refused later does not undo."""
_LORA = (
    *(
        "init_lora_weights='gaussian'",
        "init_lora_weights='pissa'",
        "init_lora_weights='pissa_niter_4'",
        "init_lora_weights='olora'",
    ),
    *(
        "init_lora_weights='orthogonal'",
        "use_dora=True",
        "use_rslora=True",
        "lora_bias=True",
        "init_lora_weights=False",
        "fan_in_fan_out=True",
    ),
    *(
        "init_lora_weights='loftq', loftq_config=peft.LoftQConfig()",
        "modules_to_save=['0']",
        "init_lora_weights='eva', eva_config=peft.EvaConfig()",
    ),
    *(
        "target_modules=['0'], target_parameters=['0.weight']",
        "trainable_token_indices=[1]",
        "init_lora_weights='milora'",
        "init_lora_weights='corda'",
    ),
)

HELPERS: dict[str, tuple[str, ...]] = {
    **{
        f"peft.{name}Config": (
            f"adapted(m, x, '{name}'{more})",
            f"adapted(m, x, '{name}'{more}, then='merge_and_unload')",
            f"adapted(m, x, '{name}'{more}, then='merge_adapter')",
            f"adapted(m, x, '{name}'{more}, then='unload')",
        )
        for name, more in _SETTINGS.items()
        if name != "Lora"
    },
    "peft.LoraConfig": (
        *(
            "adapted(m, x, 'Lora')",
            "adapted(m, x, 'Lora', then='merge_and_unload')",
            "adapted(m, x, 'Lora', then='merge_adapter')",
        ),
        *(
            "adapted(m, x, 'Lora', then='unmerge_adapter')",
            "adapted(m, x, 'Lora', then='unload')",
            "adapted(tied, x, 'Lora', then='merge_and_unload')",
        ),
        *(f"adapted(m, x, 'Lora', {more})" for more in _LORA),
        *(f"adapted(m, x, 'Lora', {more}, then='merge_and_unload')" for more in _LORA if not more.startswith(_WRITES)),
    ),
    "peft.get_peft_model peft.inject_adapter_in_model peft.get_layer_status peft.get_model_status": (
        *("peft.inject_adapter_in_model(peft.LoraConfig(target_modules=['0']), nn.Sequential(m)).eval()(x)",),
        "str(peft.get_model_status(peft.get_peft_model(nn.Sequential(m), peft.LoraConfig(target_modules=['0'])))).replace('float', '')",
    ),
    "peft.prepare_model_for_kbit_training peft.cast_mixed_precision_params": (
        *("peft.prepare_model_for_kbit_training(nn.Sequential(m), use_gradient_checkpointing=False)",),
        *("peft.cast_mixed_precision_params(m, torch.float16)", "peft.cast_mixed_precision_params(m, torch.bfloat16)"),
    ),
    "peft.get_peft_model_state_dict peft.set_peft_model_state_dict peft.get_base_model_state_dict peft.set_base_model_state_dict": (
        *(
            "peft.get_base_model_state_dict(adapted(m, x, 'Lora', raw=True))",
            "peft.get_peft_model_state_dict(adapted(m, x, 'Lora', raw=True))",
        ),
        *(
            "(lambda a: peft.set_base_model_state_dict(a, {'0.' + k: t for k, t in d.items()}))(adapted(m, x, 'Lora', raw=True))",
        ),
        *(
            "(lambda a: peft.set_peft_model_state_dict(a, peft.get_peft_model_state_dict(a)) and None)(adapted(m, x, 'Lora', raw=True))",
        ),
    ),
    "peft.convert_to_lora peft.save_as_lora peft.find_kappa_target_modules": (
        "peft.convert_to_lora(adapted(m, x, 'LoHa', init_weights=False, raw=True), rank=2, progressbar=False)[1]",
    ),
    "peft_utils.transpose peft_utils.id_tensor_storage": (
        "peft.utils.transpose(w, True)",
        "peft.utils.transpose(w, False)",
        "len(peft.utils.id_tensor_storage(w))",
    ),
    "peft_utils._freeze_adapter peft_utils._set_trainable peft_utils._get_submodules peft_utils._set_adapter": (
        "peft.utils._freeze_adapter(m, 'weight')",
        "peft.utils._get_submodules(nn.Sequential(m), '0')[1]",
    ),
    # accelerate
    "accelerate.cpu_offload accelerate.cpu_offload_with_hook accelerate.disk_offload accelerate.dispatch_model": (
        *(
            "accelerate.cpu_offload(nn.Sequential(m), 'cpu')(x)",
            "accelerate.cpu_offload_with_hook(nn.Sequential(m), 'cpu')[0](x)",
        ),
        *(
            "accelerate.dispatch_model(nn.Sequential(m), {'': 'cpu'})(x)",
            "accelerate.dispatch_model(nn.Sequential(m, tied), {'0': 'cpu', '1': 'cpu'})[0](x)",
        ),
        *(
            "offloaded_to_disk(m, x)",
            "accelerate.dispatch_model(nn.Sequential(m, nn.Identity()), {'0': 'cpu', '1': 'cpu'}, force_hooks=True, main_device='cpu')(x)",
        ),
    ),
    "accelerate.infer_auto_device_map accelerate_utils.infer_auto_device_map accelerate_utils.get_balanced_memory accelerate_utils.check_device_map": (
        *(
            "accelerate.infer_auto_device_map(nn.Sequential(m, tied), {'cpu': 10**9})",
            "accelerate.utils.get_balanced_memory(nn.Sequential(m), {'cpu': 10**9})",
        ),
        "accelerate.utils.check_device_map(nn.Sequential(m), {'': 'cpu'})",
    ),
    "accelerate.init_empty_weights accelerate.init_on_device": (
        *(
            "under(accelerate.init_empty_weights(), lambda: setattr(m, 'more', w))",
            "under(accelerate.init_empty_weights(include_buffers=True), lambda: m(x))",
        ),
        *(
            "under(accelerate.init_on_device('cpu'), lambda: setattr(m, 'more', w))",
            "under(accelerate.init_empty_weights(), lambda: m.register_parameter('weight', w))",
        ),
        "under(accelerate.init_empty_weights(), lambda: torch.nn.Linear(3, 4).weight.device)",
    ),
    "accelerate.load_checkpoint_and_dispatch accelerate.load_checkpoint_in_model accelerate_utils.load_checkpoint_in_model": (
        *(
            "accelerate.load_checkpoint_in_model(m, saved_dense(d))",
            "accelerate.load_checkpoint_and_dispatch(m, saved_dense(d), device_map={'': 'cpu'})(x)",
        ),
        *(
            "accelerate.load_checkpoint_in_model(m, saved_dense(d), dtype=torch.float16)",
            "accelerate.load_checkpoint_in_model(m, saved_dense(d), strict=True)",
        ),
    ),
    "accelerate_utils.set_module_tensor_to_device": (
        *(
            "accelerate.utils.set_module_tensor_to_device(m, 'weight', 'cpu')",
            "accelerate.utils.set_module_tensor_to_device(m, 'weight', 'cpu', value=o)",
        ),
        *(
            "accelerate.utils.set_module_tensor_to_device(m, 'weight', 'meta')",
            "accelerate.utils.set_module_tensor_to_device(m, 'weight', 'cpu', dtype=torch.float16)",
        ),
        "(accelerate.utils.set_module_tensor_to_device(m, 'weight', 'meta'), accelerate.utils.set_module_tensor_to_device(m, 'weight', 'cpu', value=o))[1]",
    ),
    "accelerate_utils.find_tied_parameters accelerate_utils.retie_parameters accelerate_utils.id_tensor_storage accelerate_utils.ensure_weights_retied": (
        *(
            "accelerate.utils.find_tied_parameters(nn.Sequential(m, tied))",
            "accelerate.utils.retie_parameters(nn.Sequential(m, tied), [['0.weight', '1.weight']])",
        ),
        "len(accelerate.utils.id_tensor_storage(w))",
    ),
    "accelerate_utils.check_tied_parameters_on_same_device accelerate_utils.check_tied_parameters_in_config": (
        "accelerate.utils.check_tied_parameters_on_same_device([['0.weight', '1.weight']], {'': 'cpu'})",
    ),
    "accelerate_utils.compute_module_sizes accelerate_utils.calculate_maximum_sizes accelerate_utils.get_max_layer_size accelerate_utils.dtype_byte_size": (
        *(
            "accelerate.utils.compute_module_sizes(m)",
            "accelerate.utils.calculate_maximum_sizes(nn.Sequential(m))",
            "accelerate.utils.dtype_byte_size(w.dtype)",
        ),
    ),
    "accelerate_utils.named_module_tensors accelerate_utils.align_module_device accelerate_utils.has_offloaded_params": (
        *(
            "dict(accelerate.utils.named_module_tensors(m))",
            "under(accelerate.utils.align_module_device(m, 'cpu'), lambda: m(x))",
            "accelerate.utils.has_offloaded_params(m)",
        ),
    ),
    "accelerate_utils.send_to_device accelerate_utils.copy_tensor_to_devices accelerate_utils.honor_type accelerate_utils.recursively_apply": (
        *(
            "accelerate.utils.send_to_device({'w': w}, 'cpu')",
            "accelerate.utils.send_to_device(w, 'meta')",
            "accelerate.utils.recursively_apply(lambda t: t * 2, [w])",
        ),
    ),
    "accelerate_utils.get_data_structure accelerate_utils.initialize_tensors accelerate_utils.find_batch_size accelerate_utils.ignorant_find_batch_size": (
        *(
            "accelerate.utils.initialize_tensors(accelerate.utils.get_data_structure([w]))[0].shape",
            "accelerate.utils.find_batch_size([w])",
        ),
    ),
    "accelerate_utils.slice_tensors accelerate_utils.concatenate accelerate_utils.listify accelerate_utils.pad_input_tensors": (
        *(
            "accelerate.utils.slice_tensors([w], slice(0, 2))",
            "accelerate.utils.concatenate([w, o])",
            "accelerate.utils.listify([w])",
        ),
    ),
    "accelerate_utils.convert_to_fp32 accelerate_utils.convert_outputs_to_fp32 accelerate_utils.find_device accelerate_utils.is_torch_tensor": (
        *(
            "accelerate.utils.convert_to_fp32([w])",
            "accelerate.utils.convert_outputs_to_fp32(m.forward)(x)",
            "accelerate.utils.find_device([w])",
            "accelerate.utils.is_torch_tensor(w)",
        ),
    ),
    "accelerate_utils.gather accelerate_utils.broadcast accelerate_utils.reduce accelerate_utils.pad_across_processes accelerate_utils.gather_object accelerate_utils.broadcast_object_list": (
        *(
            "(accelerate.PartialState(), accelerate.utils.gather([w]))[1]",
            "accelerate.utils.broadcast([w])",
            "accelerate.utils.reduce([w])",
        ),
        "accelerate.utils.pad_across_processes([w])",
    ),
    "accelerate_utils.offload_state_dict accelerate_utils.offload_weight accelerate_utils.load_offloaded_weight accelerate_utils.load_offloaded_weights accelerate_utils.save_offload_index": (
        *("offloaded(m.state_dict())", "offloaded({'w': w})"),
    ),
    "accelerate_utils.extract_submodules_state_dict accelerate_utils.clean_state_dict_for_safetensors accelerate_utils.merge_dicts accelerate_utils.extract_model_from_parallel": (
        *(
            "accelerate.utils.extract_submodules_state_dict({'a.w': w}, ['a'])",
            "accelerate.utils.clean_state_dict_for_safetensors(nn.Sequential(m, tied).state_dict())",
        ),
        "accelerate.utils.extract_model_from_parallel(m)",
    ),
    "accelerate_utils.save accelerate_utils.load accelerate_utils.load_state_dict": (
        *(
            "accelerate_saved(m.state_dict(), True)",
            "accelerate_saved(m.state_dict(), False)",
            "accelerate_saved({'w': w, 'again': w}, True)",
        ),
    ),
    "accelerate_utils.release_memory accelerate_utils.find_executable_batch_size accelerate.find_executable_batch_size": (
        "accelerate.utils.release_memory(w)",
    ),
    "accelerate_utils.is_compiled_module accelerate_utils.has_compiled_regions accelerate_utils.model_has_dtensor accelerate_utils.get_model_tp_size": (
        *(
            "accelerate.utils.is_compiled_module(m)",
            "accelerate.utils.has_compiled_regions(m)",
            "accelerate.utils.model_has_dtensor(m)",
        ),
    ),
    "accelerate_utils.has_4bit_bnb_layers accelerate_utils.has_ao_layers accelerate_utils.has_transformer_engine_layers accelerate_utils.get_module_children_bottom_up": (
        *(
            "accelerate.utils.has_4bit_bnb_layers(m)",
            "len(accelerate.utils.get_module_children_bottom_up(nn.Sequential(m)))",
        ),
    ),
    "accelerate_hooks.add_hook_to_module accelerate_hooks.attach_align_device_hook accelerate_hooks.attach_align_device_hook_on_blocks accelerate_hooks.attach_execution_device_hook": (
        *(
            "accelerate.hooks.add_hook_to_module(m, accelerate.hooks.AlignDevicesHook('cpu'))(x)",
            "accelerate.hooks.add_hook_to_module(m, accelerate.hooks.AlignDevicesHook('cpu', offload=True))(x)",
        ),
        *(
            "hooked(m, x)",
            "hooked(m, x, removed=True)",
            "accelerate.hooks.add_hook_to_module(m, accelerate.hooks.CpuOffload('cpu'))(x)",
        ),
    ),
    "accelerate_hooks.remove_hook_from_module accelerate_hooks.remove_hook_from_submodules accelerate_hooks.get_non_persistent_buffers": (
        "accelerate.hooks.remove_hook_from_module(accelerate.hooks.add_hook_to_module(m, accelerate.hooks.AlignDevicesHook('cpu', offload=True)))(x)",
    ),
    "accelerate_hooks.clear_device_cache": ("accelerate.hooks.recursive_getattr(m, 'weight')",),
    "accelerate.attach_layerwise_casting_hooks": ("layerwise(m, x)",),
    "accelerate.Accelerator": (
        "accelerate.Accelerator(cpu=True).prepare(m)(x)",
        "accelerate.Accelerator(cpu=True).get_state_dict(m)",
    ),
}
