"""Expressions for names that work on modules: of torch.nn and its utilities, torch.func, torch.jit, files, processes."""

from __future__ import annotations

MODULES: dict[str, tuple[str, ...]] = {
    # nn.Module
    "Module._apply": (
        "m._apply(lambda t: t * 2)",
        "m._apply(lambda t: t.clone())",
        "m._apply(lambda t: t.double())",
        "swapped(lambda: m._apply(lambda t: t * 2))",
    ),
    "Module.__call__ Module.forward Module._call_impl Module._wrapped_call_impl": (
        *(
            "m(x)",
            "m.forward(x)",
            "m(x.double())",
            "m(x[:0])",
            "m(x.numpy())",
            "autocast(lambda: m(x))",
            "vmapped(m, x)",
            "m(w)",
        ),
        *(
            "with_default_device(lambda: m(x))",
            "with_default_dtype(lambda: m(x))",
            "m(x.to('meta'))",
            "in_thread(lambda: m(x))",
        ),
    ),
    "Module._slow_forward": ("m._slow_forward(x)",),
    "Module._get_name Module.extra_repr": ("m._get_name()", "m.extra_repr()"),
    "Module.__getattr__ Module.get_parameter Module.get_buffer Module.get_submodule": (
        "m.weight",
        "m.get_parameter('weight')",
        "m.get_submodule('')",
    ),
    "Module.__setstate__ Module.__getstate__ Module.__reduce__ Module.__reduce_ex__": (
        *("pickle.loads(pickle.dumps(m))", "copy.deepcopy(m)", "copy.copy(m)", "copy.deepcopy([m, tied])[1]"),
    ),
    "Module.__delattr__ Module.__setattr__ Module.register_parameter": (
        *(
            "setattr(m, 'weight', torch.nn.Parameter(o, requires_grad=False))",
            "setattr(m, 'weight', w)",
            "setattr(m, 'more', w)",
            "setattr(m, 'weight', o)",
        ),
        *(
            "m.register_parameter('again', w)",
            "setattr(m, 'weight', torch.nn.Parameter(w, requires_grad=False))",
            "torch.nn.Parameter(w.data, False)",
        ),
    ),
    "Module.register_buffer Module.register_module Module.add_module Module.set_submodule": (
        *("m.register_buffer('more', w)", "m.register_buffer('more', w.detach())", "m.add_module('more', tied)"),
    ),
    "Module._load_from_state_dict Module.load_state_dict": (
        *(
            "m.load_state_dict(d)",
            "m.load_state_dict(d, assign=True)",
            "m.load_state_dict({**d, 'weight': o[:1]})",
            "m.load_state_dict({**d, 'weight': o.double()})",
        ),
        *(
            "m.load_state_dict({}, strict=False)",
            "m.load_state_dict(m.state_dict())",
            "m.load_state_dict(copy.deepcopy(m.state_dict()), assign=True)",
        ),
        *(
            "loaded_into_dense(m, d)",
            "loaded_into_dense(m, d, assign=True)",
            "m.load_state_dict({**d, 'weight': o.to('meta')})",
        ),
        *("m.load_state_dict({**d, 'weight': o.numpy()})", "m.load_state_dict({**d, 'weight': o.mT.contiguous().mT})"),
    ),
    "Module._save_to_state_dict Module.state_dict": (
        "m.state_dict()",
        "m.state_dict(keep_vars=True)",
        "m.state_dict()['weight'].zero_()",
        "m.state_dict()['weight'].copy_(o)",
    ),
    "Module.apply": (
        "m.apply(lambda one: torch.nn.init.zeros_(one.weight))",
        "m.apply(lambda one: one.weight.data.normal_())",
    ),
    "Module.bfloat16 Module.half Module.float Module.double Module.type Module.to": (
        *(
            "m.bfloat16()",
            "m.half()",
            "m.float()",
            "m.double()",
            "m.type(torch.float64)",
            "m.to(torch.float16)",
            "m.to('cpu')",
            "m.to('meta')",
            "m.double().float()",
        ),
        *(
            "swapped(lambda: m.double())",
            "m.to(memory_format=torch.channels_last)",
            "m.half()(x.half())",
            "m.to(o)",
        ),
    ),
    "Module.cpu Module.share_memory Module.to_empty": (
        "m.cpu()",
        "m.share_memory()",
        "m.to_empty(device='cpu').weight.shape",
        "m.to_empty(device='meta')",
    ),
    "Module.train Module.eval Module.requires_grad_ Module.zero_grad": (
        "m.train()(x)",
        "m.eval()(x)",
        "m.requires_grad_(False)",
        "m.zero_grad()",
        "m.zero_grad(False)",
    ),
    "Module.buffers Module.children Module.modules Module.parameters Module.named_buffers Module.named_children Module.named_modules": (
        *(
            "list(m.parameters())",
            "dict(m.named_buffers())",
            "[p.numel() for p in m.parameters()]",
            "sum(p.sum() for p in m.parameters())",
        ),
        "[p.data_ptr() % 1 for p in m.parameters() if p is not w]",
    ),
    "Module.named_parameters Module._named_members": (
        "dict(m.named_parameters())",
        "len(list(torch.nn.ModuleList([m, tied]).parameters()))",
    ),
    "Module._replicate_for_data_parallel": ("torch.nn.DataParallel(m)(x)", "m._replicate_for_data_parallel()(x)"),
    "Module.register_forward_hook Module.register_forward_pre_hook Module.register_backward_hook Module.register_full_backward_hook": (
        "(m.register_forward_hook(lambda one, given, made: made * 2), m(x))[1]",
    ),
    # torch.nn.init, by the rule that all of them write into their argument
    **{
        f"init.{name}": (f"nn.init.{name}(w{more})", f"nn.init.{name}(w.data{more})")
        for name, more in {
            **dict.fromkeys(
                [
                    "dirac_",
                    "eye_",
                    "kaiming_normal_",
                    "kaiming_uniform_",
                    "normal_",
                    "ones_",
                    "orthogonal_",
                    "trunc_normal_",
                ],
                "",
            ),
            **dict.fromkeys(["uniform_", "xavier_normal_", "xavier_uniform_", "zeros_"], ""),
            **dict.fromkeys(
                [
                    "dirac",
                    "eye",
                    "kaiming_normal",
                    "kaiming_uniform",
                    "normal",
                    "orthogonal",
                    "uniform",
                    "xavier_normal",
                ],
                "",
            ),
            **dict.fromkeys(["xavier_uniform"], ""),
            **dict.fromkeys(["constant_", "constant"], ", 0.5"),
            **dict.fromkeys(["sparse_", "sparse"], ", 0.5"),
        }.items()
    },
    # torch.nn.utils
    "utils.clip_grad_norm utils.clip_grad_norm_ utils.clip_grad_value_ utils.clip_grads_with_norm_ utils.get_total_norm": (
        *(
            "nn.utils.clip_grad_norm_(m.parameters(), 0.1)",
            "nn.utils.clip_grad_value_([w], 0.1)",
            "nn.utils.get_total_norm([w, o])",
        ),
        "nn.utils.clip_grads_with_norm_([w], 0.1, torch.tensor(1.0))",
    ),
    "utils.convert_conv2d_weight_memory_format utils.convert_conv3d_weight_memory_format": (
        "nn.utils.convert_conv2d_weight_memory_format(m, torch.channels_last)",
        "nn.utils.convert_conv3d_weight_memory_format(m, torch.channels_last_3d)",
    ),
    "utils.fuse_conv_bn_eval utils.fuse_conv_bn_weights utils.fuse_linear_bn_eval utils.fuse_linear_bn_weights": (
        *("fused_with_norm(m)", "nn.utils.fuse_linear_bn_weights(w, None, r * 0, r.abs() + 1, 1e-5, r, r)"),
        "nn.utils.fuse_conv_bn_weights(w, None, r * 0, r.abs() + 1, 1e-5, r, r)",
    ),
    "utils.parameters_to_vector utils.vector_to_parameters": (
        *(
            "nn.utils.parameters_to_vector(m.parameters())",
            "nn.utils.vector_to_parameters(nn.utils.parameters_to_vector(m.parameters()) * 2, m.parameters())",
        ),
        "nn.utils.vector_to_parameters(torch.zeros(5000), [w])",
    ),
    "utils.weight_norm utils.remove_weight_norm": (
        "nn.utils.weight_norm(m)(x)",
        "nn.utils.remove_weight_norm(nn.utils.weight_norm(m))",
    ),
    "utils.spectral_norm utils.remove_spectral_norm": (
        "nn.utils.spectral_norm(m)(x)",
        "nn.utils.remove_spectral_norm(nn.utils.spectral_norm(m))",
    ),
    "utils.skip_init": ("nn.utils.skip_init(type(m), 3, 4).bias is None",),
    "parametrizations.weight_norm": ("nn.utils.parametrizations.weight_norm(m)(x)",),
    "parametrizations.spectral_norm": ("nn.utils.parametrizations.spectral_norm(m)(x)",),
    "parametrizations.orthogonal": ("nn.utils.parametrizations.orthogonal(m)(x)",),
    "parametrize.register_parametrization parametrize.remove_parametrizations": (
        *("parametrized(m)(x)", "nn.utils.parametrize.remove_parametrizations(parametrized(m), 'weight')"),
        *(
            "nn.utils.parametrize.remove_parametrizations(parametrized(m), 'weight', leave_parametrized=False)",
            "setattr(parametrized(m), 'weight', o)",
        ),
    ),
    "parametrize.cached parametrize.is_parametrized parametrize.type_before_parametrizations parametrize.transfer_parametrizations_and_params": (
        *(
            "nn.utils.parametrize.is_parametrized(parametrized(m))",
            "nn.utils.parametrize.type_before_parametrizations(parametrized(m)).__name__",
        ),
        "nn.utils.parametrize.transfer_parametrizations_and_params(parametrized(m), copy.deepcopy(m))(x)",
    ),
    **{
        f"prune.{name}": (
            f"prune.{name}(m, 'weight'{more})(x)",
            f"prune.remove(prune.{name}(m, 'weight'{more}), 'weight')(x)",
            f"prune.remove(prune.{name}(tied, 'weight'{more}), 'weight')(x)",
        )
        for name, more in {
            "identity": "",
            "l1_unstructured": ", 0.5",
            "random_unstructured": ", 0.5",
            "ln_structured": ", 0.5, 2, 0",
            "random_structured": ", 0.5, 0",
            "custom_from_mask": ", k",
        }.items()
    },
    "prune.global_unstructured": (
        "prune.global_unstructured([(m, 'weight')], prune.L1Unstructured, amount=0.5)",
        "prune.global_unstructured([(m, 'weight'), (tied, 'weight')], prune.L1Unstructured, amount=0.5)",
    ),
    "prune.is_pruned prune.remove": (
        "prune.is_pruned(m)",
        "prune.remove(m, 'weight')",
        "prune.L1Unstructured(0.5).prune(w)",
    ),
    # optimisers and averages
    "swa_utils.get_ema_avg_fn swa_utils.get_ema_multi_avg_fn swa_utils.get_swa_avg_fn swa_utils.get_swa_multi_avg_fn": (
        *(
            "averaged(m, o, torch.optim.swa_utils.get_ema_avg_fn(0.5))",
            "averaged(m, o, torch.optim.swa_utils.get_swa_avg_fn())",
            "averaged(m, o, None)",
        ),
        *(
            "averaged(m, o, None, torch.optim.swa_utils.get_ema_multi_avg_fn(0.5))",
            "averaged(m, o, None, torch.optim.swa_utils.get_swa_multi_avg_fn())",
        ),
    ),
    "swa_utils.update_bn": ("torch.optim.swa_utils.update_bn([x], m)",),
    **{
        f"optim.{name}": (f"stepped(m, o, torch.optim.{name})",)
        for name in (
            "ASGD",
            "Adadelta",
            "Adafactor",
            "Adagrad",
            "Adam",
            "AdamW",
            "Adamax",
            "LBFGS",
            "Muon",
            "NAdam",
            "RAdam",
            "RMSprop",
            "Rprop",
            "SGD",
            "SparseAdam",
        )
    },
    # torch.func and its kin
    "func.functional_call": (
        "torch.func.functional_call(m, {'weight': o}, (x,))",
        "torch.func.functional_call(m, dict(m.named_parameters()), (x,))",
        "torch.func.functional_call(m, {'weight': w * 2}, (x,))",
    ),
    "func.grad func.grad_and_value func.vjp": (
        *(
            "torch.func.grad(lambda t: m(t).sum())(x)",
            "torch.func.grad(lambda t: (t * 2).sum())(w)",
            "torch.func.vjp(m, x)[0]",
            "torch.func.grad_and_value(lambda t: t.square().sum())(w)",
        ),
        "torch.func.grad(lambda t: torch.func.functional_call(m, {'weight': t}, (x,)).sum())(w)",
    ),
    "func.hessian func.jacfwd func.jacrev func.jvp func.linearize": (
        *(
            "torch.func.jacrev(lambda t: m(t).sum())(x)",
            "torch.func.jacfwd(lambda t: m(t).sum())(x)",
            "torch.func.jvp(m, (x,), (x,))",
            "torch.func.linearize(m, x)[0]",
        ),
        "torch.func.jvp(lambda t: t * 2, (w,), (o,))",
    ),
    "func.vmap func.functionalize func.debug_unwrap": (
        *(
            "torch.func.vmap(lambda t: t.sum())(w)",
            "torch.func.vmap(lambda t: t * 2)(w)",
            "torch.func.vmap(m)(x)",
            "torch.func.functionalize(lambda t: t * 2)(w)",
        ),
        *(
            "torch.func.functionalize(lambda t: t.clone().zero_())(w)",
            "torch.func.functionalize(lambda t: t.zero_())(w)",
            "torch.func.vmap(lambda a, b: a @ b.mT, (0, None))(x[None], w)",
        ),
        *("torch.func.functionalize(m)(x)", "torch.func.vmap(lambda t: t.mul_(2))(w)"),
    ),
    "func.stack_module_state": (
        "torch.func.stack_module_state([m, copy.deepcopy(m)])",
        "torch.func.stack_module_state([m, tied])",
    ),
    # TorchScript and export
    "jit.trace jit.trace_module jit.save jit.load jit.freeze jit.optimize_for_inference jit.script_method jit.run_frozen_optimizations": (
        *(
            "torch.jit.trace(m, x, check_trace=False)(x)",
            "torch.jit.trace(m, x)(x)",
            "reloaded(torch.jit.trace(m, x, check_trace=False))(x)",
        ),
        *(
            "torch.jit.freeze(torch.jit.trace(m, x, check_trace=False))(x)",
            "torch.jit.trace(lambda t: t * 2, w)(w)",
            "torch.jit.trace(lambda t: t @ w.mT, x, check_trace=False)(x)",
        ),
    ),
    "jit.script jit.script_if_tracing jit.export jit.trace": (
        "torch.jit.script(m)(x)",
        "reloaded(torch.jit.script(m))(x)",
    ),
    "jit.annotate jit.fork jit.wait jit.isinstance": (
        "torch.jit.wait(torch.jit.fork(m, x))",
        "torch.jit.annotate(torch.Tensor, w)",
    ),
    # files and processes
    "torch.save torch.load": (
        *(
            "saved(w)",
            "saved(m)",
            "saved(m.state_dict(), weights_only=True)",
            "saved([w, w.detach(), w.mT])",
            "saved(m.state_dict(), _use_new_zipfile_serialization=False)",
        ),
        *("saved(w, pickle_protocol=4)", "saved(w.data)", "saved({'w': w, 'o': o})", "saved(w, mmap=True)"),
    ),
    "reductions.reduce_tensor reductions.reduce_storage reductions.reduce_typed_storage": (
        *(
            "reduced(w) * 1",  # other processes never see writes: codes are immutable, and so are shared ones
            "reduced(w.detach()) * 1",
            "reduced(m)",
            "reduced(w.mT) * 1",
            "reduced(w.untyped_storage()) and None",
            "reduced_by_hand(w)",
        ),
    ),
    "reductions.reduce_sparse_tensor reductions.reduce_nested_tensor": ("reduced(w.to_sparse())",),
    "torch_utils.swap_tensors": (
        "torch.utils.swap_tensors(w, nn.Parameter(o, False))",
        "torch.utils.swap_tensors(o, w.data)",
    ),
    "safetensors.save safetensors.save_file safetensors.load safetensors.load_file": (
        *(
            "safe.load(safe.save({'w': w}))",
            "safe.load(safe.save({'w': w.detach().clone()}))",
            "safe.load(safe.save(m.state_dict()))",
        ),
    ),
    "safetensors.save_model safetensors.load_model": ("safe_model(m)", "safe.load_model(m, saved_dense(d))"),
    "safetensors.storage_ptr safetensors.storage_size": (
        "safe.storage_size(w) > 0",
        "safe.storage_ptr(w) == safe.storage_ptr(w)",
    ),
}
